//! The numbers of the subject, each with a type of its own, so that a guest's frame is never taken for a machine's.

use core::fmt;

/// Bytes in a page. Xen's ABI knows only this size on Arm, whatever the guest's own page size is.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(/// A machine (host physical) byte address.
    Pa(u64), "pa {:#x}");
number!(/// A guest physical byte address (intermediate physical address).
    Ipa(u64), "ipa {:#x}");
number!(/// A guest virtual byte address: an allegation, which only the guest's own tables and the p2m turn into memory.
    Gva(u64), "gva {:#x}");
number!(/// A machine frame: a [`Pa`] without its page offset.
    Mfn(u64), "mfn {:#x}");
number!(/// A guest frame: an [`Ipa`] without its page offset.
    Gfn(u64), "gfn {:#x}");
number!(/// A domain's number.
    DomId(u16), "d{}");
number!(/// A virtual CPU's number within its domain.
    VcpuId(u16), "v{}");
number!(/// A physical CPU's dense number, 0 being the boot CPU.
    CpuId(u16), "cpu{}");

impl Pa {
    /// The frame that holds this byte.
    pub const fn frame(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }
}

impl Ipa {
    /// The frame that holds this byte.
    pub const fn frame(self) -> Gfn {
        Gfn(self.0 >> PAGE_SHIFT)
    }

    /// The byte's offset in its page.
    pub const fn offset(self) -> usize {
        (self.0 & (PAGE_SIZE - 1)) as usize
    }
}

impl Mfn {
    /// The frame's first byte.
    pub const fn base(self) -> Pa {
        Pa(self.0 << PAGE_SHIFT)
    }
}

impl Gfn {
    /// The frame's first byte.
    pub const fn base(self) -> Ipa {
        Ipa(self.0 << PAGE_SHIFT)
    }
}

impl DomId {
    /// The control domain, which is also the hardware domain.
    pub const CONTROL: DomId = DomId(0);
    /// The first number that no domain may have (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: DomId = DomId(0x7ff0);
    /// "The caller" (`DOMID_SELF`).
    pub const SELF: DomId = DomId(0x7ff0);
    /// The owner of what is no domain's RAM (`DOMID_IO`).
    pub const IO: DomId = DomId(0x7ff1);
    /// The hypervisor itself (`DOMID_XEN`).
    pub const XEN: DomId = DomId(0x7ff2);
    /// No domain (`DOMID_INVALID`).
    pub const INVALID: DomId = DomId(0x7ff4);
    /// The owner of idle vCPUs (`DOMID_IDLE`).
    pub const IDLE: DomId = DomId(0x7fff);
}
