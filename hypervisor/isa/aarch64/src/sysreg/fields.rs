//! Which fields of the identification registers a guest sees, and how far.
//!
//! A field is in the tables if its feature works at EL1 and EL0 without an enable bit of EL2 (HCR_EL2, HCRX_EL2,
//! CPTR_EL2, MDCR_EL2) that we leave clear, if all the state it adds is switched with the vCPU, and if the value
//! means no more than what we know it to mean. Hidden for these reasons:
//!
//! - needs an enable: SVE, SME, pointer authentication, MTE, AMU, MPAM, SCXTNUM (CSV2 2), LS64, MOPS, TCR2, SCTLR2,
//!   PIE, POE, GCS, THE, FPMR, CMOW, NMI, and the trace, profiling, branch record and performance units;
//! - state that is not switched: RAS error records, LORegions, breakpoints beyond the two that must exist;
//! - of use at EL2 and EL3 only: EL3, VHE, nested virtualisation, FWB, EVT, FGT, ECV, TWED, XNX, VMID width, RME. That there is
//!   an EL2 is shown: a kernel that took EL1 for the highest level would do what only that may;
//! - promises that stage 2 or our emulation would have to keep too: 52-bit addresses (LPA2), WFIT and WFET, ETS, XS.

mod aarch32;
mod aarch64;

use super::guest::Guest;

/// How the value that a guest reads follows from the CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Unsigned: the CPU's value, but no more than this. A smaller number promises less.
    UpTo(u8),
    /// Four-bit signed, where −1 means "not implemented": the CPU's value, but no more than this.
    Signed(i8),
    /// A hazard, where a larger number promises less: the CPU's value, but no more than this.
    Hazard(u8),
    /// This value on every CPU.
    Fixed(u8),
    /// 1 if the guest's interrupt controller has system registers, else 0.
    Gic,
    /// The widest physical address range that fits the guest physical address space.
    PhysicalRange,
}

/// One four-bit field; all identification fields are four bits wide and aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's lowest bit.
    pub low: u8,
    /// What becomes of it.
    pub rule: Rule,
}

impl Field {
    /// The field's value in a register.
    pub const fn of(&self, register: u64) -> u8 {
        (register >> self.low & 0xf) as u8
    }

    /// A register with this value in the field and zero elsewhere.
    pub const fn place(&self, value: u8) -> u64 {
        (value as u64 & 0xf) << self.low
    }

    /// The value that a guest reads where the CPU has `host`.
    pub fn filter(&self, host: u8, guest: &Guest) -> u8 {
        match self.rule {
            Rule::UpTo(most) | Rule::Hazard(most) => host.min(most),
            Rule::Signed(most) => nibble(signed(host).min(most)),
            Rule::Fixed(value) => value,
            Rule::Gic => guest.gic_system_registers.into(),
            Rule::PhysicalRange => host.min(physical_range(guest.ipa_bits)),
        }
    }

    /// The value that holds on two CPUs which have `one` and `other`.
    pub fn common(&self, one: u8, other: u8) -> u8 {
        match self.rule {
            Rule::Signed(_) => nibble(signed(one).min(signed(other))),
            Rule::Hazard(_) => one.max(other),
            _ => one.min(other),
        }
    }
}

/// The allowed fields of the register with this [index](super::ids::index). A register that is not here shows nothing:
/// the unallocated ones, the implementation-defined AFR0 and AFR1, those that describe SVE, SME and FPMR alone, and
/// the later ones that describe only features which need an enable.
pub fn allowed(index: usize) -> &'static [Field] {
    let (crm, op2) = (index / 8 + 1, index % 8);
    match (crm, op2) {
        (1, 0) => aarch32::PFR0,
        (1, 1) => aarch32::PFR1,
        (1, 2) => aarch32::DFR0,
        (1, 4) => aarch32::MMFR0,
        (1, 5) => aarch32::MMFR1,
        (1, 6) => aarch32::MMFR2,
        (1, 7) => aarch32::MMFR3,
        (2, 0) => aarch32::ISAR0,
        (2, 1) => aarch32::ISAR1,
        (2, 2) => aarch32::ISAR2,
        (2, 3) => aarch32::ISAR3,
        (2, 4) => aarch32::ISAR4,
        (2, 5) => aarch32::ISAR5,
        (2, 6) => aarch32::MMFR4,
        (2, 7) => aarch32::ISAR6,
        (3, 0) => aarch32::MVFR0,
        (3, 1) => aarch32::MVFR1,
        (3, 2) => aarch32::MVFR2,
        (3, 4) => aarch32::PFR2,
        (4, 0) => aarch64::PFR0,
        (4, 1) => aarch64::PFR1,
        (5, 0) => aarch64::DFR0,
        (6, 0) => aarch64::ISAR0,
        (6, 1) => aarch64::ISAR1,
        (6, 2) => aarch64::ISAR2,
        (7, 0) => aarch64::MMFR0,
        (7, 1) => aarch64::MMFR1,
        (7, 2) => aarch64::MMFR2,
        _ => &[],
    }
}

const fn signed(nibble: u8) -> i8 {
    ((nibble << 4) as i8) >> 4
}

const fn nibble(signed: i8) -> u8 {
    signed as u8 & 0xf
}

/// ID_AA64MMFR0_EL1.PARange for at most this many bits, up to 48: more takes 52-bit descriptors.
const fn physical_range(bits: u8) -> u8 {
    match bits {
        48.. => 5,
        44.. => 4,
        42.. => 3,
        40.. => 2,
        36.. => 1,
        _ => 0,
    }
}

/// The constructors that the tables are written with: a field by its lowest bit, which `arm_sysregs` knows by its name.
const fn up_to(low: u32, most: u8) -> Field {
    Field { low: low as u8, rule: Rule::UpTo(most) }
}

const fn signed_up_to(low: u32, most: i8) -> Field {
    Field { low: low as u8, rule: Rule::Signed(most) }
}

const fn hazard(low: u32, most: u8) -> Field {
    Field { low: low as u8, rule: Rule::Hazard(most) }
}

const fn fixed(low: u32, value: u8) -> Field {
    Field { low: low as u8, rule: Rule::Fixed(value) }
}

const fn special(low: u32, rule: Rule) -> Field {
    Field { low: low as u8, rule }
}
