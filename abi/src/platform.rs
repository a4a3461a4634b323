//! Platform operations of the hardware domain (`public/platform.h`): the wall clock.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version that the argument must carry; another is refused with `EACCES`.
pub const INTERFACE_VERSION: u32 = 0x0300_0001;

numbers! {
    /// A sub-operation of `platform_op`.
    PlatformOp: u32 {
        /// Sets the wall clock.
        SetTime64 = 62,
    }
}

/// Head of the argument.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlatformHeader {
    /// A [`PlatformOp`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
}

/// Bytes of the whole argument: the head and 128 bytes for the operation.
pub const ARGUMENT_SIZE: usize = 136;

/// What follows the head for [`PlatformOp::SetTime64`]: the wall clock at a moment of the system time.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetTime64 {
    /// Seconds since 1970.
    pub secs: u64,
    /// Nanoseconds of the second.
    pub nsecs: u32,
    /// Zero, else the call is refused.
    pub mbz: u32,
    /// The moment: nanoseconds of the caller's own time.
    pub system_time: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(PlatformHeader, 8, 4, { cmd: 0, interface_version: 4 });
        assert_layout!(SetTime64, 24, 8, { secs: 0, nsecs: 8, mbz: 12, system_time: 16 });
        assert!(size_of::<PlatformHeader>() + size_of::<SetTime64>() <= ARGUMENT_SIZE);
    }
}
