//! Instruction and data aborts from a guest (Arm ARM, D24.2.40, "ISS encoding for an exception from a Data Abort").

use arm_sysregs::el2::registers::HpfarEl2;

use super::bits;
use super::mmio::{LoadStore, Size};
use xenolith_core::types::{Gva, Ipa, PAGE_SIZE};

/// What went wrong: the fault status code, with the level of the table walk where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStatus {
    /// An address of more bits than are configured.
    AddressSize {
        /// Level of the walk; −1 exists with 52-bit addresses.
        level: i8,
    },
    /// No mapping.
    Translation {
        /// Level of the walk.
        level: i8,
    },
    /// The access flag of the mapping is clear.
    AccessFlag {
        /// Level of the walk.
        level: i8,
    },
    /// The mapping does not allow the access.
    Permission {
        /// Level of the walk.
        level: i8,
    },
    /// The memory system refused the access, or reported a parity error.
    External {
        /// The access was one of a table walk.
        walk: bool,
    },
    /// A misaligned access to Device memory, or a misaligned exclusive or atomic access.
    Alignment,
    /// The TLB holds two entries for the address.
    TlbConflict,
    /// An exclusive or atomic access to memory that does not support it.
    UnsupportedExclusive,
    /// Any other code.
    Other(u8),
}

impl FaultStatus {
    const fn decode(code: u8) -> FaultStatus {
        let level = (code & 3) as i8;
        match code {
            0b00_0000..=0b00_0011 => FaultStatus::AddressSize { level },
            0b10_1001 => FaultStatus::AddressSize { level: -1 },
            0b00_0100..=0b00_0111 => FaultStatus::Translation { level },
            0b10_1011 => FaultStatus::Translation { level: -1 },
            0b00_1000..=0b00_1011 => FaultStatus::AccessFlag { level },
            0b00_1100..=0b00_1111 => FaultStatus::Permission { level },
            0b01_0000 | 0b01_1000 => FaultStatus::External { walk: false },
            0b01_0011..=0b01_0111 | 0b01_1011..=0b01_1111 => FaultStatus::External { walk: true },
            0b10_0001 => FaultStatus::Alignment,
            0b11_0000 => FaultStatus::TlbConflict,
            0b11_0101 => FaultStatus::UnsupportedExclusive,
            code => FaultStatus::Other(code),
        }
    }

    /// Whether HPFAR_EL2 holds the address of a stage 2 fault of this kind that no stage 1 walk caused.
    const fn reports_ipa(self) -> bool {
        matches!(
            self,
            FaultStatus::AddressSize { .. }
                | FaultStatus::Translation { .. }
                | FaultStatus::AccessFlag { .. }
        )
    }
}

/// What instruction and data aborts have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault, and the level of the walk that it ended.
    pub status: FaultStatus,
    /// The guest's own translation tables were being read or updated, not the address of the instruction.
    pub stage1_walk: bool,
    /// The virtual address of the access, where FAR_EL2 is valid.
    pub gva: Option<Gva>,
    /// The guest physical address, where HPFAR_EL2 is valid: to the byte, or to the page for a `stage1_walk`.
    /// `None` for a permission fault, whose `gva` has to be translated to find it.
    pub ipa: Option<Ipa>,
}

impl Fault {
    const FNV: u64 = 1 << 10;
    pub(super) const S1PTW: u64 = 1 << 7;

    #[inline]
    pub(super) fn decode(esr: u64, far: u64, hpfar: u64) -> Fault {
        let status = FaultStatus::decode(bits(esr, 0, 6));
        let stage1_walk = esr & Self::S1PTW != 0;
        let external = matches!(status, FaultStatus::External { .. });
        let gva = (!external || esr & Self::FNV == 0).then_some(Gva(far));
        let page = ipa_page(hpfar);
        let ipa = if stage1_walk {
            (!external).then_some(Ipa(page))
        } else {
            status.reports_ipa().then_some(Ipa(page | far & (PAGE_SIZE - 1)))
        };
        Fault { status, stage1_walk, gva, ipa }
    }
}

/// HPFAR_EL2.FIPA is the address from bit 12 up (Arm ARM, D24.2.62).
pub(super) const fn ipa_page(hpfar: u64) -> u64 {
    HpfarEl2::from_bits_retain(hpfar).fipa() << 12
}

/// A fault of a load, store, or cache instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort {
    /// The fault itself: its kind and address.
    pub fault: Fault,
    /// A write. Also true for cache and address translation instructions.
    pub write: bool,
    /// A cache maintenance or address translation instruction.
    pub cache_maintenance: bool,
    /// The register transfer, when the hardware describes it (ISV). Without it the instruction has to be decoded.
    pub access: Option<LoadStore>,
}

impl DataAbort {
    pub(super) const ISV: u64 = 1 << 24;
    const SSE: u64 = 1 << 21;
    const SF: u64 = 1 << 15;
    pub(super) const CM: u64 = 1 << 8;
    pub(super) const WNR: u64 = 1 << 6;

    #[inline]
    pub(super) fn decode(esr: u64, far: u64, hpfar: u64) -> DataAbort {
        let fault = Fault::decode(esr, far, hpfar);
        let cache_maintenance = esr & Self::CM != 0;
        let described = esr & Self::ISV != 0 && !fault.stage1_walk && !cache_maintenance;
        let access = described.then(|| Self::register_transfer(esr));
        DataAbort { fault, write: esr & Self::WNR != 0, cache_maintenance, access }
    }

    /// The transfer of a register, which a syndrome with ISV describes.
    #[inline]
    pub(super) fn register_transfer(esr: u64) -> LoadStore {
        LoadStore {
            size: Size::from_log2(bits(esr, 22, 2)),
            sign_extend: esr & Self::SSE != 0,
            sixty_four: esr & Self::SF != 0,
            register: bits(esr, 16, 5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_meaning() {
        for code in 0..64 {
            let status = FaultStatus::decode(code);
            if let FaultStatus::Translation { level } | FaultStatus::Permission { level } = status {
                assert!((-1..4).contains(&level));
            }
            // Tag check and granule protection faults are not taken from our guests, yet must not look like ours.
            if matches!(code, 0b01_0001 | 0b10_0011..=0b10_1000) {
                assert_eq!(status, FaultStatus::Other(code));
            }
        }
    }

    #[test]
    fn hpfar_gives_the_page() {
        assert_eq!(ipa_page(0x10), 0x1000);
        assert_eq!(ipa_page(u64::MAX), 0x00ff_ffff_ffff_f000);
    }
}
