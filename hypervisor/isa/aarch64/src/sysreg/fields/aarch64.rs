//! The AArch64 identification registers, CRm 4 to 7 (Arm ARM, D24.2, each register by its name).

use arm_sysregs::el1::registers::{
    IdAa64dfr0El1 as Dfr0, IdAa64isar0El1 as Isar0, IdAa64isar1El1 as Isar1, IdAa64isar2El1 as Isar2,
    IdAa64mmfr0El1 as Mmfr0, IdAa64mmfr1El1 as Mmfr1, IdAa64mmfr2El1 as Mmfr2, IdAa64pfr0El1 as Pfr0,
    IdAa64pfr1El1 as Pfr1,
};

use super::{Field, Rule, fixed, hazard, signed_up_to, special, up_to};

pub const PFR0: &[Field] = &[
    up_to(Pfr0::EL0_SHIFT, 2), // AArch32 too
    fixed(Pfr0::EL1_SHIFT, 1), // AArch64 only, as HCR_EL2.RW has it
    // AArch64 only. A kernel at the highest level writes CNTFRQ_EL0 (D24.10.1), which is undefined below it and has no trap.
    fixed(Pfr0::EL2_SHIFT, 1),
    signed_up_to(Pfr0::FP_SHIFT, 1), // half precision
    signed_up_to(Pfr0::ADVSIMD_SHIFT, 1),
    special(Pfr0::GIC_SHIFT, Rule::Gic),
    up_to(Pfr0::DIT_SHIFT, 1),  // in PSTATE
    up_to(Pfr0::CSV2_SHIFT, 1), // 2 would add SCXTNUM registers
    up_to(Pfr0::CSV3_SHIFT, 1),
];

pub const PFR1: &[Field] = &[
    up_to(Pfr1::BT_SHIFT, 1),        // branch targets, under SCTLR_EL1
    up_to(Pfr1::SSBS_SHIFT, 2),      // in PSTATE
    up_to(Pfr1::CSV2_FRAC_SHIFT, 1), // 2 would add SCXTNUM registers
];

pub const DFR0: &[Field] = &[
    fixed(Dfr0::DEBUGVER_SHIFT, 6),     // Armv8.0, the lowest
    up_to(Dfr0::BRPS_SHIFT, 1),         // two breakpoints, the fewest
    up_to(Dfr0::WRPS_SHIFT, 1),         // two watchpoints, the fewest
    fixed(Dfr0::DOUBLELOCK_SHIFT, 0xf), // none, OSDLR_EL1 has no effect
];

pub const ISAR0: &[Field] = &[
    up_to(Isar0::AES_SHIFT, 2), // with PMULL
    up_to(Isar0::SHA1_SHIFT, 1),
    up_to(Isar0::SHA2_SHIFT, 2), // with SHA512
    up_to(Isar0::CRC32_SHIFT, 1),
    up_to(Isar0::ATOMIC_SHIFT, 2), // LSE
    up_to(Isar0::RDM_SHIFT, 1),
    up_to(Isar0::SHA3_SHIFT, 1),
    up_to(Isar0::SM3_SHIFT, 1),
    up_to(Isar0::SM4_SHIFT, 1),
    up_to(Isar0::DP_SHIFT, 1),
    up_to(Isar0::FHM_SHIFT, 1),
    up_to(Isar0::TS_SHIFT, 2),   // FlagM, FlagM2
    up_to(Isar0::TLB_SHIFT, 2),  // outer shareable, range
    up_to(Isar0::RNDR_SHIFT, 1), // only EL3 can trap it
];

pub const ISAR1: &[Field] = &[
    up_to(Isar1::DPB_SHIFT, 2), // DC CVAP, CVADP
    up_to(Isar1::JSCVT_SHIFT, 1),
    up_to(Isar1::FCMA_SHIFT, 1),
    up_to(Isar1::LRCPC_SHIFT, 2),
    up_to(Isar1::FRINTTS_SHIFT, 1),
    up_to(Isar1::SB_SHIFT, 1),
    up_to(Isar1::SPECRES_SHIFT, 1), // acts on the current VMID
    up_to(Isar1::BF16_SHIFT, 2),    // EBF16 is in FPCR
    up_to(Isar1::DGH_SHIFT, 1),     // a hint
    up_to(Isar1::I8MM_SHIFT, 1),
];

pub const ISAR2: &[Field] = &[
    up_to(Isar2::RPRES_SHIFT, 1),  // under FPCR.AH
    up_to(Isar2::BC_SHIFT, 1),     // a hint
    up_to(Isar2::CLRBHB_SHIFT, 1), // a hint
    up_to(Isar2::CSSC_SHIFT, 1),
];

pub const MMFR0: &[Field] = &[
    special(Mmfr0::PARANGE_SHIFT, Rule::PhysicalRange),
    up_to(Mmfr0::ASIDBITS_SHIFT, 2),
    up_to(Mmfr0::BIGEND_SHIFT, 1),
    up_to(Mmfr0::BIGENDEL0_SHIFT, 1),
    up_to(Mmfr0::TGRAN16_SHIFT, 1), // 2 would be LPA2
    signed_up_to(Mmfr0::TGRAN64_SHIFT, 0),
    signed_up_to(Mmfr0::TGRAN4_SHIFT, 0), // 1 would be LPA2
    up_to(Mmfr0::EXS_SHIFT, 1),           // under SCTLR_EL1
];

pub const MMFR1: &[Field] = &[
    up_to(Mmfr1::HAFDBS_SHIFT, 2), // 3 would need TCR2_EL1
    up_to(Mmfr1::HPDS_SHIFT, 2),
    up_to(Mmfr1::PAN_SHIFT, 3), // 3 is under SCTLR_EL1.EPAN
    hazard(Mmfr1::SPECSEI_SHIFT, 1),
    up_to(Mmfr1::AFP_SHIFT, 1), // in FPCR
    up_to(Mmfr1::ECBHB_SHIFT, 1),
];

pub const MMFR2: &[Field] = &[
    up_to(Mmfr2::CNP_SHIFT, 1),     // all vCPUs of a domain share its VMID
    up_to(Mmfr2::UAO_SHIFT, 1),     // in PSTATE
    up_to(Mmfr2::LSM_SHIFT, 1),     // under SCTLR_EL1
    up_to(Mmfr2::VARANGE_SHIFT, 1), // 52 bits with 64 KiB pages
    up_to(Mmfr2::CCIDX_SHIFT, 1),   // the format of CCSIDR_EL1, which is not trapped
    up_to(Mmfr2::ST_SHIFT, 1),
    up_to(Mmfr2::AT_SHIFT, 1),  // unaligned single-copy atomicity
    up_to(Mmfr2::IDS_SHIFT, 1), // how hardware answers EL0
    up_to(Mmfr2::TTL_SHIFT, 1),
    up_to(Mmfr2::BBM_SHIFT, 2),
    up_to(Mmfr2::E0PD_SHIFT, 1),
];
