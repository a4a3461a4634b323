//! What the CPU notes when a guest stops, before anything is made of it.
//!
//! Three kinds of trap are by far the most frequent, and each is known by one comparison; all others are
//! [decoded](Syndrome::decode) first.

use arm_sysregs::el2::registers::EsrEl2;
use xenolith_core::types::{Ipa, PAGE_SIZE};

use super::abort::{DataAbort, Fault, ipa_page};
use super::{IMMEDIATE_XEN, Trap, class};
use crate::device_access::MmioAccess;
use crate::regs::Length;

/// The registers that say why a guest stopped, as they stand after an exception to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syndrome {
    /// ESR_EL2: the exception class and what is specific to it.
    pub esr: u64,
    /// FAR_EL2: the virtual address of an abort.
    pub far: u64,
    /// HPFAR_EL2: the guest physical page of an abort.
    pub hpfar: u64,
}

/// ESR_EL2.EC.
const CLASS: u64 = EsrEl2::EC_MASK << EsrEl2::EC_SHIFT;
const CLASS_WFX: u64 = (class::WFX as u64) << EsrEl2::EC_SHIFT;
const CLASS_HVC: u64 = (class::HVC64 as u64) << EsrEl2::EC_SHIFT;
const CLASS_DATA_ABORT: u64 = (class::DATA_ABORT_LOWER as u64) << EsrEl2::EC_SHIFT;
/// The immediate of an HVC.
const IMMEDIATE: u64 = 0xffff;
/// CV and COND of WFI and its like, and the bit of TI by which WFE differs.
const CONDITION_AND_EVENT: u64 = 0x1f << 20 | 1;
/// WFI as AArch64 always, and AArch32 mostly, executes it: under the condition AL.
const ALWAYS_WFI: u64 = 0x1e << 20;
/// DFSC, but for the level; what it is for a translation fault of a level from 0 to 3.
const FAULT: u64 = 0x3c;
const FAULT_TRANSLATION: u64 = 0x04;

impl Syndrome {
    /// What it means.
    pub fn decode(&self) -> Trap {
        super::decode(self.esr, self.far, self.hpfar)
    }

    /// The size of the instruction.
    pub const fn length(&self) -> Length {
        super::length(self.esr)
    }

    /// Whether it is a Xen hypercall.
    #[inline]
    pub const fn is_xen_hypercall(&self) -> bool {
        self.esr & (CLASS | IMMEDIATE) == CLASS_HVC | IMMEDIATE_XEN as u64
    }

    /// Whether it is a WFI or WFIT that no condition holds up.
    #[inline]
    pub const fn is_wait_for_interrupt(&self) -> bool {
        self.esr & (CLASS | CONDITION_AND_EVENT) == CLASS_WFX | ALWAYS_WFI
    }

    /// A load or store where the guest has no memory, of which the syndrome tells the register and the size, and whether it
    /// stores. Others need the instruction to be decoded, or are no accesses to devices.
    #[inline]
    pub fn described_access(&self) -> Option<(MmioAccess, bool)> {
        const MASK: u64 = CLASS | DataAbort::ISV | DataAbort::CM | Fault::S1PTW | FAULT;
        if self.esr & MASK != CLASS_DATA_ABORT | DataAbort::ISV | FAULT_TRANSLATION {
            return None;
        }
        let at = Ipa(ipa_page(self.hpfar) | self.far & (PAGE_SIZE - 1));
        let access = MmioAccess { at, access: DataAbort::register_transfer(self.esr) };
        Some((access, self.esr & DataAbort::WNR != 0))
    }

    /// The abort of a load, store or cache instruction, which it must be.
    pub fn data_abort(&self) -> DataAbort {
        DataAbort::decode(self.esr, self.far, self.hpfar)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::regs::Condition;
    use crate::trap::FaultStatus;

    proptest! {
        /// The short ways find what decoding finds.
        #[test]
        fn each_comparison_agrees_with_decoding(
            class in prop_oneof![Just(0x01u64), Just(0x16u64), Just(0x24u64), 0u64..64],
            low in prop_oneof![Just(u64::from(IMMEDIATE_XEN)), Just(0x1e0_0000u64), Just(0x1e0_0001u64), 0u64..1 << 26],
            fault in prop::option::of(0u64..64),
            described: bool,
            far: u64,
            hpfar: u64,
        ) {
            let iss = fault.map_or(low, |fault| low & !0x3f | fault) | if described { DataAbort::ISV } else { 0 };
            let syndrome = Syndrome { esr: class << 26 | iss & 0x3ff_ffff, far, hpfar };
            let trap = syndrome.decode();
            prop_assert_eq!(syndrome.is_xen_hypercall(), trap == Trap::Hypercall { immediate: IMMEDIATE_XEN });
            let wfi = Trap::Wait { event: false, condition: Condition::Code(14) };
            prop_assert_eq!(syndrome.is_wait_for_interrupt(), trap == wfi);
            let expected = match trap {
                Trap::DataAbort(abort) => {
                    prop_assert_eq!(syndrome.data_abort(), abort);
                    let translation = matches!(abort.fault.status, FaultStatus::Translation { level: 0..=3 });
                    abort.fault.ipa.zip(abort.access).filter(|_| translation).map(|found| (found, abort.write))
                }
                _ => None,
            };
            let found = syndrome.described_access();
            prop_assert_eq!(found.map(|(access, write)| ((access.at, access.access), write)), expected);
        }
    }
}
