//! EL2's control registers: what is written into each on every CPU when it comes up, and why.
//!
//! Reset leaves most of them unknown, and firmware may leave anything in them. So each has a row in [`CONTROLS`], and what a row
//! does not set is clear. A register or a bit that a feature brings is written only where the identification registers
//! show the feature. Which registers of EL1 and EL0 follow from it is in [`reach`](crate::sysreg::reach).

use arm_sysregs::el2::registers::{CptrEl2, HcrEl2, MdcrEl2, Mpam2El2, MpamhcrEl2};

use crate::sysreg::{Encoding, IdRegisters};

/// Calls a macro with the registers of [`Control`]s: variant, the Arm ARM's name, and op1, CRn, CRm and op2 (op0 is 3).
#[macro_export]
macro_rules! el2_controls {
    ($with:ident) => {
        $with! {
            Hcr "hcr_el2" 4 1 1 0,
            Mdcr "mdcr_el2" 4 1 1 1,
            Cptr "cptr_el2" 4 1 1 2,
            Hstr "hstr_el2" 4 1 1 3,
            Hcrx "hcrx_el2" 4 1 2 2,
            Hfgrtr "hfgrtr_el2" 4 1 1 4,
            Hfgwtr "hfgwtr_el2" 4 1 1 5,
            Hfgitr "hfgitr_el2" 4 1 1 6,
            Hdfgrtr "hdfgrtr_el2" 4 3 1 4,
            Hdfgwtr "hdfgwtr_el2" 4 3 1 5,
            Hafgrtr "hafgrtr_el2" 4 3 1 6,
            Hfgrtr2 "hfgrtr2_el2" 4 3 1 2,
            Hfgwtr2 "hfgwtr2_el2" 4 3 1 3,
            Hfgitr2 "hfgitr2_el2" 4 3 1 7,
            Hdfgrtr2 "hdfgrtr2_el2" 4 3 1 0,
            Hdfgwtr2 "hdfgwtr2_el2" 4 3 1 1,
            Cnthctl "cnthctl_el2" 4 14 1 0,
            Mpam2 "mpam2_el2" 4 10 5 0,
            Mpamhcr "mpamhcr_el2" 4 10 4 0,
            Pmscr "pmscr_el2" 4 9 9 0,
            Trfcr "trfcr_el2" 4 1 2 1,
            Sctlr2 "sctlr2_el2" 4 1 0 3,
            Tcr2 "tcr2_el2" 4 2 0 3,
        }
    };
}

macro_rules! registers {
    ($($variant:ident $name:literal $op1:literal $crn:literal $crm:literal $op2:literal,)*) => {
        /// A control register of EL2.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Register {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl Register {
            /// All of them.
            pub const ALL: &[Register] = &[$(Register::$variant,)*];

            /// The register's name in the Arm ARM, in small letters.
            pub const fn name(self) -> &'static str {
                match self { $(Register::$variant => $name,)* }
            }

            /// How an instruction names it.
            pub const fn encoding(self) -> Encoding {
                match self { $(Register::$variant => Encoding::new(3, $op1, $crn, $crm, $op2),)* }
            }
        }
    };
}

el2_controls!(registers);

/// What a register or a bit needs of the CPU. Where it is not there, nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// ARMv8.0 has it.
    Nothing,
    /// ID_AA64PFR0_EL1.RAS.
    Ras,
    /// ID_AA64PFR0_EL1.AMU.
    ActivityMonitors,
    /// ID_AA64MMFR1_EL1.LO.
    LoRegions,
    /// ID_AA64MMFR1_EL1.HCX.
    Hcx,
    /// ID_AA64MMFR0_EL1.FGT.
    FineGrainedTraps,
    /// ID_AA64MMFR0_EL1.FGT, from 2 on.
    FineGrainedTraps2,
    /// Both [`Self::FineGrainedTraps`] and [`Self::ActivityMonitors`].
    FineGrainedActivityTraps,
    /// ID_AA64PFR0_EL1.MPAM or ID_AA64PFR1_EL1.MPAM_frac.
    Mpam,
    /// MPAM with MPAMHCR_EL2 (MPAMIDR_EL1.HAS_HCR).
    MpamVirtual,
    /// ID_AA64DFR0_EL1.PMSVer: statistical profiling.
    Profiling,
    /// The same, and its buffer is not EL3's or another security state's (PMBIDR_EL1.P).
    ProfilingOwned,
    /// ID_AA64DFR0_EL1.TraceFilt.
    TraceFilter,
    /// ID_AA64MMFR3_EL1.SCTLRX.
    Sctlr2,
    /// ID_AA64MMFR3_EL1.TCRX.
    Tcr2,
}

/// What the calling CPU has.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    /// The identification registers.
    pub ids: &'a IdRegisters,
    /// MPAMIDR_EL1; of no account without MPAM.
    pub mpamidr: u64,
    /// PMBIDR_EL1; of no account without statistical profiling.
    pub pmbidr: u64,
}

impl Features<'_> {
    /// Whether the CPU has something.
    pub fn have(&self, needs: Needs) -> bool {
        let pfr0 = |low| self.ids.field(4, 0, low) > 0;
        match needs {
            Needs::Nothing => true,
            Needs::Ras => pfr0(28),
            Needs::ActivityMonitors => pfr0(44),
            Needs::LoRegions => self.ids.field(7, 1, 16) > 0,
            Needs::Hcx => self.ids.field(7, 1, 40) > 0,
            Needs::FineGrainedTraps => self.ids.field(7, 0, 56) > 0,
            Needs::FineGrainedTraps2 => self.ids.field(7, 0, 56) > 1,
            Needs::FineGrainedActivityTraps => {
                self.have(Needs::FineGrainedTraps) && self.have(Needs::ActivityMonitors)
            }
            Needs::Mpam => pfr0(40) || self.ids.field(4, 1, 16) > 0,
            Needs::MpamVirtual => self.have(Needs::Mpam) && self.mpamidr & MPAMIDR_HAS_HCR != 0,
            Needs::Profiling => self.ids.field(5, 0, 32) > 0,
            Needs::ProfilingOwned => self.have(Needs::Profiling) && self.pmbidr & PMBIDR_P == 0,
            Needs::TraceFilter => self.ids.field(5, 0, 40) > 0,
            Needs::Sctlr2 => self.ids.field(7, 3, 4) > 0,
            Needs::Tcr2 => self.ids.field(7, 3, 0) > 0,
        }
    }
}

/// MPAMIDR_EL1.HAS_HCR.
const MPAMIDR_HAS_HCR: u64 = 1 << 17;
/// PMBIDR_EL1.P: a higher level or another security state owns the profiling buffer.
const PMBIDR_P: u64 = 1 << 4;

/// One control register.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Which one.
    pub register: Register,
    /// What the CPU must have for it to be there.
    pub needs: Needs,
    /// Bits that are set, each with what it needs.
    pub set: &'static [(u64, Needs)],
    /// Bits that stay as reset left them.
    pub kept: u64,
}

impl Control {
    /// What is written on a CPU, but for [`Self::kept`]. `None`: the CPU has no such register.
    pub fn value(&self, features: &Features) -> Option<u64> {
        let bits = self.set.iter().filter(|(_, needs)| features.have(*needs));
        features.have(self.needs).then(|| bits.fold(0, |value, (bit, _)| value | bit))
    }
}

/// A register of which nothing is set.
const fn clear(register: Register, needs: Needs) -> Control {
    Control { register, needs, set: &[], kept: 0 }
}

/// The control registers, in the order in which they are written: HCR_EL2 first, as its E2H gives others their layout.
pub const CONTROLS: &[Control] = &[
    // EL2 itself heeds none of it, so that no guest needs it loaded. Clear for good are, besides E2H: ATA, so that the registers
    // of MTE trap; APK and API, so that those of pointer authentication do; FIEN, which would give away fault injection;
    // EnSCXT; NV and its like.
    Control {
        register: Register::Hcr,
        needs: Needs::Nothing,
        set: &[
            (GUEST_HCR.bits(), Needs::Nothing),
            // Error records are the machine's, and no vCPU's.
            (HcrEl2::TERR.bits(), Needs::Ras),
            // Limited-ordering regions are state that is not switched.
            (HcrEl2::TLOR.bits(), Needs::LoRegions),
        ],
        kept: 0,
    },
    // What traps is emulated (`sysreg`). E2PB and E2TB clear: the buffers of profiling and of trace are EL2's, and their
    // registers trap; EnSPM and EBWE clear: so do those of system monitors and of further breakpoints. HPMN keeps its value,
    // after reset the number of counters: 0 is none that every CPU takes.
    Control {
        register: Register::Mdcr,
        needs: Needs::Nothing,
        set: &[
            // Breakpoints, watchpoints and the OS lock would be state that is not switched.
            (MdcrEl2::TDRA.union(MdcrEl2::TDOSA).union(MdcrEl2::TDA).bits(), Needs::Nothing),
            // So would performance monitors.
            (MdcrEl2::TPM.union(MdcrEl2::TPMCR).bits(), Needs::Nothing),
            // And the controls of profiling and of the trace filter.
            (MdcrEl2::TPMS.bits(), Needs::Profiling),
            (MdcrEl2::TTRF.bits(), Needs::TraceFilter),
        ],
        kept: MdcrEl2::HPMN_MASK,
    },
    // CPACR_EL1 does not trap (TCPAC): it is switched. Nor do FP and Advanced SIMD, which are too.
    Control {
        register: Register::Cptr,
        needs: Needs::Nothing,
        set: &[
            // With TZ and TSM, which are among them where SVE and SME are not there.
            (CptrEl2::RES1.union(CptrEl2::TZ).union(CptrEl2::TSM).bits(), Needs::Nothing),
            (CPTR_TTA, Needs::Nothing),
            // Activity monitors count for the whole CPU.
            (CptrEl2::TAM.bits(), Needs::ActivityMonitors),
        ],
        kept: 0,
    },
    // AArch32 is of EL0 only, which reaches no other CP15 register that EL1 does not give it.
    Control { register: Register::Hstr, needs: Needs::Nothing, set: &[(HSTR_T15, Needs::Nothing)], kept: 0 },
    // Its bits that are set let a guest have TCR2_EL1, SCTLR2_EL1, MOPS, ST64B, FPMR, GCS, ALLINT: none of it is switched.
    clear(Register::Hcrx, Needs::Hcx),
    // Of their bits, those that let a guest have something (the names in "n", of GCS, PIE, POE, AIE, THE, TPIDR2, ACCDATA,
    // BRBE and later features) are clear, so that it traps; those that trap are clear where other controls do it.
    clear(Register::Hfgrtr, Needs::FineGrainedTraps),
    clear(Register::Hfgwtr, Needs::FineGrainedTraps),
    clear(Register::Hfgitr, Needs::FineGrainedTraps),
    clear(Register::Hdfgrtr, Needs::FineGrainedTraps),
    clear(Register::Hdfgwtr, Needs::FineGrainedTraps),
    clear(Register::Hafgrtr, Needs::FineGrainedActivityTraps),
    clear(Register::Hfgrtr2, Needs::FineGrainedTraps2),
    clear(Register::Hfgwtr2, Needs::FineGrainedTraps2),
    clear(Register::Hfgitr2, Needs::FineGrainedTraps2),
    clear(Register::Hdfgrtr2, Needs::FineGrainedTraps2),
    clear(Register::Hdfgwtr2, Needs::FineGrainedTraps2),
    // Both counters may be read; EL1PCEN clear: the physical timer traps, as EL2 emulates it. No event stream of EL2's.
    Control {
        register: Register::Cnthctl,
        needs: Needs::Nothing,
        set: &[(CNTHCTL_EL1PCTEN, Needs::Nothing)],
        kept: 0,
    },
    // Guests and EL2 are of partition 0. EnMPAMSM clear traps MPAMSM_EL1 besides.
    Control {
        register: Register::Mpam2,
        needs: Needs::Mpam,
        set: &[(Mpam2El2::TRAPMPAM0EL1.union(Mpam2El2::TRAPMPAM1EL1).bits(), Needs::Nothing)],
        kept: 0,
    },
    // No virtual partitions.
    Control {
        register: Register::Mpamhcr,
        needs: Needs::MpamVirtual,
        set: &[(MpamhcrEl2::TRAP_MPAMIDR_EL1.bits(), Needs::Nothing)],
        kept: 0,
    },
    // No samples of EL2, and none of guests with physical addresses or time.
    clear(Register::Pmscr, Needs::ProfilingOwned),
    // No trace of EL2.
    clear(Register::Trfcr, Needs::TraceFilter),
    // EL2 itself runs as ARMv8.0 has it.
    clear(Register::Sctlr2, Needs::Sctlr2),
    clear(Register::Tcr2, Needs::Tcr2),
];

/// CPTR_EL2.TTA, which is bit 20 without VHE: accesses to trace registers trap.
pub const CPTR_TTA: u64 = 1 << 20;
/// HSTR_EL2.T15: AArch32 CP15 c15 traps, which is implementation-defined.
const HSTR_T15: u64 = 1 << 15;
/// CNTHCTL_EL2.EL1PCTEN, without VHE.
const CNTHCTL_EL1PCTEN: u64 = 1;
/// CNTHCTL_EL2.EL1PCEN, without VHE: clear.
pub const CNTHCTL_EL1PCEN: u64 = 1 << 1;
/// HCR_EL2 while a guest runs, with what the CPU's features add to it. TWE and VSE come and go.
pub const GUEST_HCR: HcrEl2 = HcrEl2::RW // EL1 is AArch64.
    // Stage 2; a walk of the guest's tables must not reach devices.
    .union(HcrEl2::VM)
    .union(HcrEl2::PTW)
    // Physical interrupts and system errors are EL2's; the guest's are virtual.
    .union(HcrEl2::AMO)
    .union(HcrEl2::IMO)
    .union(HcrEl2::FMO)
    // A vCPU that waits gives the CPU away.
    .union(HcrEl2::TWI)
    // Firmware is EL2's.
    .union(HcrEl2::TSC)
    // Identification registers are filtered; ACTLR and implementation-defined ones are nobody's.
    .union(HcrEl2::TID3)
    .union(HcrEl2::TACR)
    .union(HcrEl2::TIDCP)
    // Set/way maintenance reaches this CPU only, and other domains' lines; an invalidation would undo their stores.
    .union(HcrEl2::TSW)
    .union(HcrEl2::SWIO)
    // A vCPU may go on on another CPU: maintenance and barriers reach all.
    .union(HcrEl2::FB)
    .with_bsu(INNER_SHAREABLE);

/// HCR_EL2.BSU: barriers of EL1 and EL0 reach the inner shareable domain at least.
const INNER_SHAREABLE: u8 = 0b01;

/// ICC_SRE_EL2.Enable, which is clear: a guest that turned its system registers off (ICC_SRE_EL1.SRE) would do so for the next
/// vCPU too. Where it cannot be cleared, neither can SRE.
pub const ICC_SRE_ENABLE: u64 = 1 << 3;
/// ICC_SRE_EL1 and ICC_SRE_EL2: SRE, the system registers are in use.
pub const ICC_SRE: u64 = 1;

/// ICC_SRE_EL2 as it is to be, with what firmware has left there of the bypasses.
pub const fn interrupt_registers(current: u64) -> u64 {
    current & !ICC_SRE_ENABLE | ICC_SRE
}

#[cfg(test)]
mod tests;
