//! The hypervisor's console (`public/xen.h`, `console_io`): x0 the sub-operation, x1 a byte count, x2 a buffer. And the page
//! by which a domain's console goes to another domain (`public/io/console.h`).

numbers! {
    /// A sub-operation of `console_io`.
    ConsoleOp: u32 {
        /// Prints the buffer.
        Write = 0,
        /// Fills the buffer with typed characters; returns how many.
        Read = 1,
    }
}

/// The page by which a domain's console goes to another domain, `struct xencons_interface`: a ring for each direction, whose
/// positions run freely, modulo 2^32.
pub mod ring {
    /// Offset of what is typed.
    pub const IN: usize = 0;
    /// Bytes of it.
    pub const IN_SIZE: u32 = 1024;
    /// Offset of what the domain writes.
    pub const OUT: usize = 1024;
    /// Bytes of it.
    pub const OUT_SIZE: u32 = 2048;
    /// Offset of a `u32`: how much of what was typed has been read.
    pub const IN_READ: usize = 3072;
    /// Offset of a `u32`: how much was typed.
    pub const IN_WRITTEN: usize = 3076;
    /// Offset of a `u32`: how much of what the domain wrote has been read.
    pub const OUT_READ: usize = 3080;
    /// Offset of a `u32`: how much the domain wrote.
    pub const OUT_WRITTEN: usize = 3084;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(ConsoleOp::from_number(1), Some(ConsoleOp::Read));
        assert_eq!(ConsoleOp::from_number(2), None);
    }
}
