//! Parameters of a domain (`public/hvm/hvm_op.h`, `public/hvm/params.h`): how a guest finds its event interrupt, its
//! store and its console.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Intid};

numbers! {
    /// A sub-operation of `hvm_op`.
    HvmOp: u32 {
        /// Sets a parameter.
        SetParam = 0,
        /// Reads a parameter.
        GetParam = 1,
        /// Tells whoever watches the calling domain, if anyone does.
        GuestRequestVmEvent = 24,
    }
}

numbers! {
    /// A parameter that exists on Arm.
    HvmParam: u32 {
        /// How events reach the guest, see [`callback_ppi`].
        CallbackIrq = 0,
        /// Frame of the xenstore ring.
        StorePfn = 1,
        /// Port of the xenstore ring.
        StoreEvtchn = 2,
        /// Frame of the console ring.
        ConsolePfn = 17,
        /// Port of the console ring.
        ConsoleEvtchn = 18,
        /// Frame of the ring for memory events.
        MonitorRingPfn = 28,
    }
}

/// Argument of the calls about a parameter.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmParamArgument {
    /// The domain.
    pub domid: DomId,
    /// Ignored.
    pub pad: u16,
    /// A [`HvmParam`].
    pub index: u32,
    /// The value, in or out.
    pub value: u64,
}

/// The value of [`HvmParam::CallbackIrq`] that names a private peripheral interrupt, level-triggered and active low,
/// by its GIC number.
pub const fn callback_ppi(intid: Intid) -> u64 {
    const TYPE_PPI: u64 = 2 << 56;
    const LOW_LEVEL: u64 = 2 << 8;
    TYPE_PPI | LOW_LEVEL | (intid.0 & 0xff) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(HvmParamArgument, 16, 8, { domid: 0, index: 4, value: 8 });
    }

    #[test]
    fn the_callback_that_the_tools_set() {
        assert_eq!(callback_ppi(Intid(31)), 0x0200_0000_0000_021f);
    }
}
