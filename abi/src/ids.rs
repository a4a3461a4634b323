//! The numbers by which the calls name things, each with a type of its own, so that a guest's frame is never taken for
//! a machine's and a port never for an interrupt.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a page. Xen's ABI knows only this size on Arm, whatever the guest's own page size is.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Declares a number with a type of its own, and how people see it: `number!(/// What of. Name(u64), "name {:#x}");`.
#[macro_export]
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::write!(f, $format, self.0)
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::write!(f, $format, self.0)
            }
        }
    };
}

number!(/// A guest physical byte address (intermediate physical address).
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    Ipa(u64), "ipa {:#x}");
number!(/// A guest frame: an [`Ipa`] without its page offset.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    Gfn(u64), "gfn {:#x}");
number!(/// A domain's number.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    DomId(u16), "d{}");
number!(/// A virtual CPU's number within its domain.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    VcpuId(u16), "v{}");
number!(/// An event channel's number within its domain. 0 is never a port.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    Port(u32), "port {}");
number!(/// An interrupt's number, as the GIC's architecture counts: SGIs from 0, PPIs from 16, SPIs from 32.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    Intid(u32), "INTID {}");

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

impl From<u16> for DomId {
    fn from(number: u16) -> DomId {
        DomId(number)
    }
}

impl Intid {
    /// The first private peripheral interrupt: those below are software-generated.
    pub const FIRST_PRIVATE: Intid = Intid(16);
    /// The first shared peripheral interrupt: those below are a CPU's own.
    pub const FIRST_SHARED: Intid = Intid(32);
    /// The number behind the last shared peripheral interrupt: from there on they are special.
    pub const SHARED_END: Intid = Intid(1020);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_plain_layout() {
        assert_layout!(DomId, 2, 2, {});
        assert_layout!(VcpuId, 2, 2, {});
        assert_layout!(Port, 4, 4, {});
        assert_layout!(Intid, 4, 4, {});
        assert_layout!(Gfn, 8, 8, {});
        assert_layout!(Ipa, 8, 8, {});
    }

    #[test]
    fn frames_and_addresses_belong_together() {
        let address = Ipa(0x4000_0123);
        assert_eq!((address.frame(), address.offset()), (Gfn(0x4_0000), 0x123));
        assert_eq!(address.frame().base(), Ipa(0x4000_0000));
    }
}
