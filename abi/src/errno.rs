//! Error numbers as hypercalls return them (`public/errno.h`): x0 holds the negated value.

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// Why a call was refused. The number is Xen's, which on arm64 is also Linux's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Errno {
            $($(#[$doc])* $name = $value,)*
        }

        impl Errno {
            /// Every error number that the hypervisor can return.
            pub const ALL: &[Errno] = &[$(Errno::$name,)*];
        }
    };
}

errnos! {
    /// The caller lacks the permission.
    EPERM = 1,
    /// No such object.
    ENOENT = 2,
    /// No such domain.
    ESRCH = 3,
    /// Input or output failed.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// An argument list is too long.
    E2BIG = 7,
    /// The object is in no state for this call.
    EBADF = 9,
    /// Try again later.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// The call is of another interface version, or not for this caller.
    EACCES = 13,
    /// A pointer leads to no memory of the caller.
    EFAULT = 14,
    /// The object is in use.
    EBUSY = 16,
    /// The object exists already.
    EEXIST = 17,
    /// The two objects do not belong together.
    EXDEV = 18,
    /// No such device.
    ENODEV = 19,
    /// An argument is out of its range.
    EINVAL = 22,
    /// No room left.
    ENOSPC = 28,
    /// The object is read-only.
    EROFS = 30,
    /// A result does not fit.
    ERANGE = 34,
    /// No such call.
    ENOSYS = 38,
    /// There is nothing to return.
    ENODATA = 61,
    /// A value does not fit its type.
    EOVERFLOW = 75,
    /// The address is taken.
    EADDRINUSE = 98,
    /// The call exists, and not in this form or on this machine.
    EOPNOTSUPP = 95,
    /// The caller's buffer is too small.
    ENOBUFS = 105,
    /// The time is up.
    ETIMEDOUT = 110,
}

impl Errno {
    /// What the call leaves in x0: the negated number, sign-extended to 64 bits.
    pub const fn to_register(self) -> u64 {
        -(self as i64) as u64
    }

    /// What stands in a 32-bit per-element result.
    pub const fn to_result(self) -> i32 {
        -(self as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_values_are_in_the_error_range_of_linux() {
        for &errno in Errno::ALL {
            let value = errno.to_register() as i64;
            assert!((-4095..0).contains(&value), "{errno:?}");
            assert_eq!(value, i64::from(errno.to_result()));
        }
    }
}
