//! The numbers of the subject, each with a type of its own, so that a guest's frame is never taken for a machine's.

use xenolith_abi::number;
pub use xenolith_abi::{DomId, Gfn, Intid, Ipa, PAGE_SHIFT, PAGE_SIZE, VcpuId};

number!(/// A machine (host physical) byte address.
    Pa(u64), "pa {:#x}");
number!(/// A guest virtual byte address: an allegation, which only the guest's own tables and the p2m turn into memory.
    Gva(u64), "gva {:#x}");
number!(/// A machine frame: a [`Pa`] without its page offset.
    Mfn(u64), "mfn {:#x}");
number!(/// A physical CPU's dense number, 0 being the boot CPU.
    CpuId(u16), "cpu{}");

impl Pa {
    /// The frame that holds this byte.
    pub const fn frame(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }
}

impl Mfn {
    /// The frame's first byte.
    pub const fn base(self) -> Pa {
        Pa(self.0 << PAGE_SHIFT)
    }
}
