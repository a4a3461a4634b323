//! The hypervisor's console (`public/xen.h`, `console_io`): x0 the sub-operation, x1 a byte count, x2 a buffer.

numbers! {
    /// A sub-operation of `console_io`.
    ConsoleOp: u32 {
        /// Prints the buffer.
        Write = 0,
        /// Fills the buffer with typed characters; returns how many.
        Read = 1,
    }
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
