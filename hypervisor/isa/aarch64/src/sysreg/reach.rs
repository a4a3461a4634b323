//! Which system registers EL1 and EL0 can name, and why none of them is a way from one vCPU to another.
//!
//! Each row stands in one column: accesses trap, the register is switched with the vCPU, it is harmless, or no CPU has it
//! that the hypervisor runs on. The tests hold the rows against Arm's list of registers, as `disarm64` carries it: a register
//! in no row, or in two, fails, and so does a trap that [`controls`](crate::controls) does not set. Implementation-defined
//! ones have no names, and trap by HCR_EL2.TIDCP; what nobody has defined is undefined.

use core::ops::RangeInclusive;

use super::Encoding;
use crate::controls::{CNTHCTL_EL1PCEN, CPTR_TTA, Register};
use arm_sysregs::el2::registers::{CptrEl2, HcrEl2, HcrxEl2, HdfgrtrEl2, Hfgrtr2El2, MdcrEl2, Mpam2El2};

/// What keeps a register from being a way from one vCPU to another.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Accesses trap as long as these bits of a control register are set.
    TrappedBySet(Register, u64),
    /// Accesses trap as long as these bits of a control register are clear.
    TrappedByClear(Register, u64),
    /// Accesses trap as long as ICC_SRE_EL2.Enable is clear.
    TrappedBySre,
    /// Saved and loaded with the vCPU, in the file that is named, which has the register under the name that is given.
    Switched(File, &'static str),
    /// Nothing can be learnt or changed by it: why.
    Harmless(&'static str),
    /// None of the CPUs has it, or the architecture has it no more: why.
    Absent(&'static str),
}

/// Where a register is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `arch/aarch64/context.rs`.
    Context,
    /// `arch/aarch64/regime.rs`.
    Regime,
    /// `arch/aarch64/sve.rs`.
    Sve,
    /// `arch/aarch64/system_error.rs`.
    SystemError,
    /// `arch/aarch64/gic/v3.rs`.
    Gic,
    /// The vectors, with the general registers.
    Vectors,
}

/// Registers with one reason: op0, op1, CRn, CRm and op2.
#[derive(Clone, Debug)]
pub struct Row(u8, u8, u8, RangeInclusive<u8>, RangeInclusive<u8>, Column);

impl Row {
    /// Whether a register is one of the row's.
    pub fn has(&self, encoding: Encoding) -> bool {
        let (op0, op1, crn, crm, op2) = encoding.parts();
        (op0, op1, crn) == (self.0, self.1, self.2) && self.3.contains(&crm) && self.4.contains(&op2)
    }

    /// The row's column.
    pub fn column(&self) -> Column {
        self.5
    }
}

use Column::{Absent, Harmless, Switched, TrappedByClear, TrappedBySet, TrappedBySre};

const DEBUG: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TDA.bits());
const OS_LOCK: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TDOSA.bits());
const DEBUG_ROM: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TDRA.bits());
const MONITORS: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TPM.bits());
const MONITOR_CONTROL: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TPMCR.bits());
/// HDFGRTR2_EL2: later performance monitors.
const LATER_MONITORS: Column = TrappedByClear(Register::Hdfgrtr2, u64::MAX);
const PROFILING: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TPMS.bits());
const PROFILING_BUFFER: Column = TrappedByClear(Register::Mdcr, MdcrEl2::E2PB_MASK << MdcrEl2::E2PB_SHIFT);
const TRACE_BUFFER: Column = TrappedByClear(Register::Mdcr, MdcrEl2::E2TB_MASK << MdcrEl2::E2TB_SHIFT);
const TRACE: Column = TrappedBySet(Register::Cptr, CPTR_TTA);
const TRACE_FILTER: Column = TrappedBySet(Register::Mdcr, MdcrEl2::TTRF.bits());
const BRANCH_RECORDS: Column = TrappedByClear(
    Register::Hdfgrtr,
    HdfgrtrEl2::NBRBIDR.union(HdfgrtrEl2::NBRBCTL).union(HdfgrtrEl2::NBRBDATA).bits(),
);
const IDENTIFICATION: Column = TrappedBySet(Register::Hcr, HcrEl2::TID3.bits());
const ERROR_RECORDS: Column = TrappedBySet(Register::Hcr, HcrEl2::TERR.bits());
const FAULT_INJECTION: Column = TrappedByClear(Register::Hcr, HcrEl2::FIEN.bits());
const LIMITED_ORDERING: Column = TrappedBySet(Register::Hcr, HcrEl2::TLOR.bits());
const KEYS: Column = TrappedByClear(Register::Hcr, HcrEl2::APK.bits());
const TAGS: Column = TrappedByClear(Register::Hcr, HcrEl2::ATA.bits());
const SOFTWARE_CONTEXT: Column = TrappedByClear(Register::Hcr, HcrEl2::ENSCXT.bits());
const ACTIVITY: Column = TrappedBySet(Register::Cptr, CptrEl2::TAM.bits());
const SME: Column = TrappedBySet(Register::Cptr, CptrEl2::TSM.bits());
/// HFGRTR_EL2: nACCDATA_EL1, nGCS_EL0, nGCS_EL1, nSMPRI, nTPIDR2, nRCWMASK, nPIRE0, nPIR, nPOR_EL0, nPOR_EL1, nS2POR, nMAIR2,
/// nAMAIR2.
const FINE: Column = TrappedByClear(Register::Hfgrtr, 0xfffc << 48);
const PHYSICAL_TIMER: Column = TrappedByClear(Register::Cnthctl, CNTHCTL_EL1PCEN);
const SGI: Column = TrappedBySet(Register::Hcr, HcrEl2::IMO.union(HcrEl2::FMO).bits());
const VIRTUAL_INTERFACE: Column = Switched(File::Gic, "ich_vmcr_el2");
const CONSTANT: Column = Harmless("read-only, and the same for every vCPU on the CPU");
const PSTATE: Column = Switched(File::Vectors, "spsr_el2");
const MPU: Column = Absent("of ARMv8-R");

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Debug.
    Row(2, 0, 0, 0..=15, 4..=7, DEBUG),
    Row(2, 0, 0, 0..=3, 0..=2, DEBUG),
    Row(2, 0, 0, 4..=4, 2..=2, TrappedByClear(Register::Mdcr, MdcrEl2::EBWE.bits())),
    Row(2, 0, 0, 6..=6, 2..=2, DEBUG),
    Row(2, 0, 1, 0..=0, 0..=0, DEBUG_ROM),
    Row(2, 0, 1, 0..=4, 4..=4, OS_LOCK),
    Row(2, 0, 7, 8..=14, 6..=6, DEBUG),
    Row(2, 0, 8, 0..=0, 0..=3, Absent("an extension that was withdrawn")),
    Row(2, 0, 14, 8..=12, 0..=7, LATER_MONITORS),
    Row(2, 1, 0, 0..=15, 0..=7, TRACE),
    Row(2, 1, 1, 0..=15, 0..=7, TRACE),
    Row(2, 1, 2, 0..=15, 0..=7, TRACE),
    Row(2, 1, 3, 0..=15, 0..=7, TRACE),
    Row(2, 1, 7, 0..=15, 0..=7, TRACE),
    Row(2, 1, 8, 0..=15, 0..=7, BRANCH_RECORDS),
    Row(2, 1, 9, 0..=2, 0..=2, BRANCH_RECORDS),
    Row(2, 2, 0, 0..=0, 0..=0, Absent("ThumbEE is of ARMv7")),
    Row(2, 2, 1, 0..=0, 0..=0, Absent("ThumbEE is of ARMv7")),
    Row(2, 3, 0, 1..=5, 0..=0, DEBUG),
    Row(2, 3, 8, 0..=0, 0..=3, Absent("an extension that was withdrawn")),

    // Identification.
    Row(3, 0, 0, 0..=0, 0..=0, Switched(File::Context, "vpidr_el2")),
    Row(3, 0, 0, 0..=0, 4..=4, MPU),
    Row(3, 0, 0, 0..=0, 5..=5, Switched(File::Context, "vmpidr_el2")),
    Row(3, 0, 0, 0..=0, 6..=6, CONSTANT),
    Row(3, 0, 0, 1..=7, 0..=7, IDENTIFICATION),
    Row(3, 1, 0, 0..=0, 0..=7, CONSTANT),
    Row(3, 3, 0, 0..=0, 1..=7, CONSTANT),

    // Control of the CPU and of translation.
    Row(3, 0, 1, 0..=0, 0..=0, Switched(File::Regime, "sctlr_el1")),
    Row(3, 0, 1, 0..=0, 1..=1, TrappedBySet(Register::Hcr, HcrEl2::TACR.bits())),
    Row(3, 0, 1, 0..=0, 2..=2, Switched(File::Context, "cpacr_el1")),
    Row(3, 0, 1, 0..=0, 3..=3, TrappedByClear(Register::Hcrx, HcrxEl2::SCTLR2EN.bits())),
    Row(3, 0, 1, 0..=0, 5..=6, TAGS),
    Row(3, 0, 1, 2..=2, 0..=0, Switched(File::Sve, "s3_0_c1_c2_0")),
    Row(3, 0, 1, 2..=2, 1..=1, TRACE_FILTER),
    Row(3, 0, 1, 2..=2, 3..=3, TrappedByClear(Register::Hdfgrtr2, u64::MAX)), // nTRCITECR_EL1
    Row(3, 0, 1, 2..=2, 4..=6, SME),
    Row(3, 0, 2, 0..=0, 0..=0, Switched(File::Regime, "ttbr0_el1")),
    Row(3, 0, 2, 0..=0, 1..=1, Switched(File::Regime, "ttbr1_el1")),
    Row(3, 0, 2, 0..=0, 2..=2, Switched(File::Regime, "tcr_el1")),
    Row(3, 0, 2, 0..=0, 3..=3, TrappedByClear(Register::Hcrx, HcrxEl2::TCR2EN.bits())),
    Row(3, 0, 2, 1..=3, 0..=3, KEYS),
    Row(3, 0, 2, 5..=5, 0..=2, FINE),
    Row(3, 0, 10, 2..=2, 0..=0, Switched(File::Regime, "mair_el1")),
    Row(3, 0, 10, 2..=2, 1..=5, FINE),
    Row(3, 0, 10, 3..=3, 0..=0, Switched(File::Context, "amair_el1")),
    Row(3, 0, 10, 3..=3, 1..=1, FINE),
    Row(3, 0, 10, 4..=4, 0..=3, LIMITED_ORDERING),
    Row(3, 0, 10, 4..=4, 7..=7, LIMITED_ORDERING),
    Row(3, 0, 10, 4..=4, 4..=4, CONSTANT),
    Row(3, 0, 10, 5..=5, 0..=0, TrappedBySet(Register::Mpam2, Mpam2El2::TRAPMPAM1EL1.bits())),
    Row(3, 0, 10, 5..=5, 1..=1, TrappedBySet(Register::Mpam2, Mpam2El2::TRAPMPAM0EL1.bits())),
    Row(3, 0, 10, 5..=5, 3..=3, TrappedByClear(Register::Mpam2, Mpam2El2::ENMPAMSM.bits())),
    Row(3, 0, 13, 0..=0, 1..=1, Switched(File::Context, "contextidr_el1")),
    Row(3, 0, 13, 0..=0, 3..=3, FINE),
    Row(3, 0, 13, 0..=0, 4..=4, Switched(File::Context, "tpidr_el1")),
    Row(3, 0, 13, 0..=0, 5..=6, FINE),
    Row(3, 0, 13, 0..=0, 7..=7, SOFTWARE_CONTEXT),
    Row(3, 2, 0, 0..=0, 0..=0, Switched(File::Context, "csselr_el1")),
    Row(3, 0, 6, 1..=15, 0..=7, MPU),

    // Exceptions and the state of the vCPU.
    Row(3, 0, 4, 0..=0, 0..=0, Switched(File::Context, "spsr_el1")),
    Row(3, 0, 4, 0..=0, 1..=1, Switched(File::Context, "elr_el1")),
    Row(3, 0, 4, 1..=1, 0..=0, Switched(File::Context, "sp_el0")),
    Row(3, 0, 4, 2..=3, 0..=4, PSTATE),
    Row(3, 3, 4, 2..=2, 0..=1, PSTATE),
    Row(3, 3, 4, 2..=2, 2..=2, SME),
    Row(3, 3, 4, 2..=2, 5..=7, PSTATE),
    Row(3, 3, 4, 4..=4, 0..=0, Switched(File::Context, "fpcr")),
    Row(3, 3, 4, 4..=4, 1..=1, Switched(File::Context, "fpsr")),
    Row(3, 3, 4, 5..=5, 0..=1, Harmless("they can be accessed in debug state only")),
    Row(3, 0, 5, 1..=1, 0..=0, Switched(File::Context, "afsr0_el1")),
    Row(3, 0, 5, 1..=1, 1..=1, Switched(File::Context, "afsr1_el1")),
    Row(3, 0, 5, 2..=2, 0..=0, Switched(File::Context, "esr_el1")),
    Row(3, 0, 5, 3..=3, 0..=2, ERROR_RECORDS),
    Row(3, 0, 5, 4..=4, 0..=3, ERROR_RECORDS),
    Row(3, 0, 5, 4..=4, 4..=6, FAULT_INJECTION),
    Row(3, 0, 5, 5..=5, 0..=3, ERROR_RECORDS),
    Row(3, 0, 5, 6..=6, 0..=1, TAGS),
    Row(3, 0, 6, 0..=0, 0..=0, Switched(File::Context, "far_el1")),
    Row(3, 0, 6, 0..=0, 5..=5, TrappedByClear(Register::Hfgrtr2, Hfgrtr2El2::NPFAR_EL1.bits())),
    Row(3, 0, 7, 4..=4, 0..=0, Switched(File::Context, "par_el1")),
    Row(3, 0, 12, 0..=0, 0..=0, Switched(File::Context, "vbar_el1")),
    Row(3, 0, 12, 0..=0, 1..=2, Absent("of CPUs whose highest level is EL1")),
    // With HCR_EL2.AMO, IMO and FMO it says what is pending of the vCPU's own.
    Row(3, 0, 12, 1..=1, 0..=0, Harmless("it shows what is pending for the vCPU")),
    // With HCR_EL2.AMO it is VDISR_EL2.
    Row(3, 0, 12, 1..=1, 1..=1, Switched(File::SystemError, "s3_4_c12_c1_1")),
    Row(3, 3, 13, 0..=0, 2..=2, Switched(File::Context, "tpidr_el0")),
    Row(3, 3, 13, 0..=0, 3..=3, Switched(File::Context, "tpidrro_el0")),
    Row(3, 3, 13, 0..=0, 5..=5, FINE),
    Row(3, 3, 13, 0..=0, 7..=7, SOFTWARE_CONTEXT),
    Row(3, 3, 2, 4..=4, 0..=1, Harmless("random numbers")),
    Row(3, 3, 2, 5..=5, 1..=1, FINE),
    Row(3, 3, 10, 2..=2, 4..=4, FINE),

    // Measuring.
    Row(3, 0, 9, 9..=9, 1..=1, TrappedByClear(Register::Hdfgrtr, HdfgrtrEl2::NPMSNEVFR_EL1.bits())),
    Row(3, 0, 9, 9..=9, 0..=0, PROFILING),
    Row(3, 0, 9, 9..=9, 2..=7, PROFILING),
    Row(3, 0, 9, 10..=10, 0..=3, PROFILING_BUFFER),
    Row(3, 0, 9, 10..=10, 7..=7, CONSTANT),
    Row(3, 0, 9, 11..=11, 0..=6, TRACE_BUFFER),
    Row(3, 0, 9, 11..=11, 7..=7, CONSTANT),
    Row(3, 0, 9, 13..=13, 3..=3, LATER_MONITORS),
    Row(3, 0, 9, 14..=14, 1..=2, MONITORS),
    Row(3, 0, 9, 14..=14, 4..=5, LATER_MONITORS),
    Row(3, 0, 9, 14..=14, 6..=6, MONITORS),
    Row(3, 0, 9, 14..=14, 7..=7, LATER_MONITORS),
    Row(3, 3, 9, 4..=6, 0..=0, LATER_MONITORS),
    Row(3, 3, 9, 12..=12, 0..=0, MONITOR_CONTROL),
    Row(3, 3, 9, 12..=12, 1..=7, MONITORS),
    Row(3, 3, 9, 13..=13, 0..=2, MONITORS),
    Row(3, 3, 9, 13..=13, 4..=4, LATER_MONITORS),
    Row(3, 3, 9, 14..=14, 0..=3, MONITORS),
    Row(3, 3, 14, 8..=15, 0..=7, MONITORS),
    Row(3, 3, 13, 2..=15, 0..=7, ACTIVITY),

    // Interrupts.
    Row(3, 0, 4, 6..=6, 0..=0, VIRTUAL_INTERFACE),
    Row(3, 0, 12, 8..=8, 0..=3, VIRTUAL_INTERFACE),
    Row(3, 0, 12, 8..=8, 4..=7, Switched(File::Gic, "ich_ap0r0_el2")),
    Row(3, 0, 12, 9..=9, 0..=3, Switched(File::Gic, "ich_ap1r0_el2")),
    Row(3, 0, 12, 9..=9, 5..=5, VIRTUAL_INTERFACE),
    Row(3, 0, 12, 11..=11, 1..=3, VIRTUAL_INTERFACE),
    Row(3, 0, 12, 11..=11, 5..=7, SGI),
    Row(3, 0, 12, 12..=12, 0..=4, VIRTUAL_INTERFACE),
    Row(3, 0, 12, 12..=12, 5..=5, TrappedBySre),
    Row(3, 0, 12, 12..=12, 6..=7, VIRTUAL_INTERFACE),

    // Time.
    Row(3, 0, 14, 1..=1, 0..=0, Switched(File::Context, "cntkctl_el1")),
    Row(3, 3, 14, 0..=0, 0..=0, CONSTANT),
    Row(3, 3, 14, 0..=0, 1..=1, Harmless("the time of the machine, which may be known")),
    Row(3, 3, 14, 0..=0, 5..=5, Harmless("the time of the machine, which may be known")),
    Row(3, 3, 14, 0..=0, 2..=2, Switched(File::Context, "cntvoff_el2")),
    Row(3, 3, 14, 0..=0, 6..=6, Switched(File::Context, "cntvoff_el2")),
    Row(3, 3, 14, 2..=2, 0..=2, PHYSICAL_TIMER),
    Row(3, 3, 14, 3..=3, 1..=1, Switched(File::Context, "cntv_ctl_el0")),
    Row(3, 3, 14, 3..=3, 0..=0, Switched(File::Context, "cntv_cval_el0")),
    Row(3, 3, 14, 3..=3, 2..=2, Switched(File::Context, "cntv_cval_el0")),
];

#[cfg(test)]
mod tests;
