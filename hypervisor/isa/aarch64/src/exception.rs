//! Giving a guest an exception at EL1: what the hardware would do on taking one, as a pure function.
//!
//! Source: Arm ARM, D1.3 "Exceptions" and the pseudocode `AArch64.TakeException`.

use crate::regs::Pstate;
use xenolith_core::types::Gva;

/// An exception for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The instruction does not exist.
    Undefined,
    /// An instruction fetch failed.
    InstructionAbort {
        /// How.
        cause: Cause,
        /// The address of the fetch, if known.
        address: Option<Gva>,
    },
    /// A load, store or cache instruction failed.
    DataAbort {
        /// How.
        cause: Cause,
        /// The address of the access, if known.
        address: Option<Gva>,
        /// It was a write.
        write: bool,
    },
    /// A system error. The hardware delivers it, not before PSTATE.A lets it.
    SError {
        /// The syndrome that the guest sees, 25 bits.
        iss: u32,
    },
}

/// How an access failed, as the fault status code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing answers at the address.
    External,
    /// Nothing answers at the address of a translation table.
    ExternalOnWalk {
        /// Level of the table, 0 to 3.
        level: u8,
    },
    /// The address is wider than the physical address range.
    AddressSize {
        /// Level of the walk, 0 to 3.
        level: u8,
    },
    /// No mapping.
    Translation {
        /// Level of the walk, 0 to 3.
        level: u8,
    },
    /// Not allowed.
    Permission {
        /// Level of the walk, 0 to 3.
        level: u8,
    },
    /// A misaligned access to Device memory.
    Alignment,
}

impl Cause {
    const fn status_code(self) -> u64 {
        match self {
            Cause::AddressSize { level } => level as u64 & 3,
            Cause::Translation { level } => 0b00_0100 | level as u64 & 3,
            Cause::Permission { level } => 0b00_1100 | level as u64 & 3,
            Cause::External => 0b01_0000,
            Cause::ExternalOnWalk { level } => 0b01_0100 | level as u64 & 3,
            Cause::Alignment => 0b10_0001,
        }
    }
}

/// The guest's registers that decide how it takes an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct El1State {
    /// VBAR_EL1.
    pub vbar: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
}

/// An exception that has been taken: the state in which the guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where it goes on: a vector.
    pub pc: u64,
    /// PSTATE there.
    pub pstate: Pstate,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1; `None` leaves it.
    pub far: Option<u64>,
}

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

const ESR_IL: u64 = 1 << 25;
const ISS_FAR_NOT_VALID: u64 = 1 << 10;
const ISS_WRITE: u64 = 1 << 6;

/// Takes `exception` to EL1 from a guest at `pc` with `pstate`.
///
/// `pc` is the return address: that of the instruction which is to blame, or for an SError of the next one. (After an
/// HVC the saved PC is one instruction too far for this.)
pub const fn take(exception: Exception, pc: u64, pstate: Pstate, el1: &El1State) -> Taken {
    let (esr, far) = syndrome(exception, pstate);
    Taken {
        pc: el1.vbar & !0x7ff | vector(exception, pstate),
        pstate: entry_state(pstate, el1.sctlr),
        elr: pc,
        spsr: pstate.0,
        esr,
        far,
    }
}

/// The vector's offset: 0x200 apart by where the exception came from, 0x80 apart by its kind.
const fn vector(exception: Exception, pstate: Pstate) -> u64 {
    let source = match (pstate.is_aarch32(), pstate.mode()) {
        (true, _) => 0x600,
        (_, Pstate::EL0) => 0x400,
        (_, Pstate::EL1T) => 0x000,
        _ => 0x200,
    };
    match exception {
        Exception::SError { .. } => source + 0x180,
        _ => source,
    }
}

/// PSTATE in the handler. Flags and DIT stay; BTYPE, UAO, SS, IL and the AArch32 state are cleared.
const fn entry_state(old: Pstate, sctlr: u64) -> Pstate {
    let mut new = old.0 & (Pstate::NZCV | Pstate::DIT | Pstate::PAN) | Pstate::EL1_ENTRY.0;
    // Both bits have the value that leaves PSTATE alone on a CPU without the feature.
    if sctlr & SCTLR_SPAN == 0 {
        new |= Pstate::PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        new |= Pstate::SSBS;
    }
    Pstate(new)
}

/// ESR_EL1 and FAR_EL1. IL is set for all of these, whatever the size of the instruction (Arm ARM, D24.2.39).
const fn syndrome(exception: Exception, pstate: Pstate) -> (u64, Option<u64>) {
    let same_level = if pstate.is_el0() { 0 } else { 1 };
    let (class, iss, far) = match exception {
        Exception::Undefined => (0x00, 0, None),
        Exception::InstructionAbort { cause, address } => {
            let (iss, far) = abort(cause, address);
            (0x20 | same_level, iss, far)
        }
        Exception::DataAbort { cause, address, write } => {
            let (iss, far) = abort(cause, address);
            (0x24 | same_level, if write { iss | ISS_WRITE } else { iss }, far)
        }
        Exception::SError { iss } => (0x2f, iss as u64 & 0x1ff_ffff, None),
    };
    (class << 26 | ESR_IL | iss, far)
}

/// The part of the syndrome that both kinds of abort share. Only an external abort may come without an address, so
/// one of another kind reports address 0.
const fn abort(cause: Cause, address: Option<Gva>) -> (u64, Option<u64>) {
    match (address, cause) {
        (Some(Gva(address)), _) => (cause.status_code(), Some(address)),
        (None, Cause::External) => (cause.status_code() | ISS_FAR_NOT_VALID, None),
        (None, _) => (cause.status_code(), Some(0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATE: El1State = El1State { vbar: 0xffff_8000_0801_0800, sctlr: SCTLR_SPAN };
    const DATA: Exception =
        Exception::DataAbort { cause: Cause::External, address: Some(Gva(0x1234)), write: true };

    #[test]
    fn vectors_by_source_and_kind() {
        let sources = [(0x3c4, 0x000), (0x3c5, 0x200), (0x3c0, 0x400), (0x1d0, 0x600)];
        for (pstate, offset) in sources {
            let pc = |exception| take(exception, 0, Pstate(pstate), &STATE).pc;
            assert_eq!(pc(Exception::Undefined), STATE.vbar + offset);
            assert_eq!(pc(DATA), STATE.vbar + offset);
            assert_eq!(pc(Exception::SError { iss: 0 }), STATE.vbar + offset + 0x180);
        }
    }

    #[test]
    fn undefined_at_el1() {
        let taken = take(Exception::Undefined, 0x1000, Pstate(0x6000_0005), &STATE);
        assert_eq!(
            taken,
            Taken {
                pc: STATE.vbar + 0x200,
                pstate: Pstate(0x6000_03c5),
                elr: 0x1000,
                spsr: 0x6000_0005,
                esr: 1 << 25,
                far: None,
            }
        );
    }

    #[test]
    fn syndromes_of_aborts() {
        let of = |exception, pstate| {
            let taken = take(exception, 0, Pstate(pstate), &STATE);
            (taken.esr, taken.far)
        };
        assert_eq!(of(DATA, 0x5), (0x9600_0050, Some(0x1234)));
        assert_eq!(of(DATA, 0x0), (0x9200_0050, Some(0x1234)));
        assert_eq!(of(DATA, 0x10), (0x9200_0050, Some(0x1234)));
        let fetch = |cause, address| Exception::InstructionAbort { cause, address };
        assert_eq!(of(fetch(Cause::Translation { level: 2 }, Some(Gva(8))), 0x5), (0x8600_0006, Some(8)));
        assert_eq!(of(fetch(Cause::External, None), 0x0), (0x8200_0410, None));
        assert_eq!(of(Exception::SError { iss: u32::MAX }, 0x0), (0xbfff_ffff, None));
    }

    #[test]
    fn controls_reach_pstate() {
        let state = |pstate, sctlr| take(DATA, 0, Pstate(pstate), &El1State { vbar: 0, sctlr }).pstate.0;
        assert_eq!(state(0, 0), Pstate::EL1_ENTRY.0 | Pstate::PAN);
        assert_eq!(
            state(Pstate::PAN, SCTLR_SPAN),
            Pstate::EL1_ENTRY.0 | Pstate::PAN,
            "SPAN sets, never clears"
        );
        assert_eq!(state(Pstate::SSBS, SCTLR_SPAN), Pstate::EL1_ENTRY.0);
        assert_eq!(state(0, SCTLR_SPAN | SCTLR_DSSBS), Pstate::EL1_ENTRY.0 | Pstate::SSBS);
    }

    proptest! {
        #[test]
        fn a_handler_always_starts_masked_at_el1(pstate: u64, pc: u64, vbar: u64, sctlr: u64) {
            let taken = take(DATA, pc, Pstate(pstate), &El1State { vbar, sctlr });
            prop_assert!(taken.pstate.is_guest());
            prop_assert_eq!(taken.pstate.0 & 0x3ff, Pstate::EL1_ENTRY.0);
            let cleared = Pstate::SS | Pstate::IL | Pstate::BTYPE | 1 << 23 | 0x3 << 25 | 0xffff_ffff << 32;
            prop_assert_eq!(taken.pstate.0 & cleared, 0);
            prop_assert_eq!(taken.pc & !0x7ff, vbar & !0x7ff);
            prop_assert_eq!((taken.elr, taken.spsr), (pc, pstate));
        }
    }
}
