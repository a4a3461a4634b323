//! The AArch32 identification registers, CRm 1 to 3 (Arm ARM, D24.2, each register by its name).
//!
//! A guest uses AArch32 at EL0 only. Fields about AArch32 at EL1 (security extensions, virtualisation, SMC, debug)
//! read as on a CPU whose EL1 is AArch64 only.

use arm_sysregs::aarch32::registers::{
    IdDfr0 as Dfr0, IdIsar0 as Isar0, IdIsar1 as Isar1, IdIsar2 as Isar2, IdIsar3 as Isar3, IdIsar4 as Isar4,
    IdIsar5 as Isar5, IdIsar6 as Isar6, IdMmfr0 as Mmfr0, IdMmfr1 as Mmfr1, IdMmfr2 as Mmfr2,
    IdMmfr3 as Mmfr3, IdMmfr4 as Mmfr4, IdPfr0 as Pfr0, IdPfr1 as Pfr1, IdPfr2 as Pfr2,
};

use super::{Field, Rule, fixed, hazard, special, up_to};

pub const PFR0: &[Field] = &[
    up_to(Pfr0::STATE0_SHIFT, 1), // A32
    up_to(Pfr0::STATE1_SHIFT, 3), // T32
    up_to(Pfr0::STATE2_SHIFT, 1), // trivial Jazelle
    up_to(Pfr0::CSV2_SHIFT, 1),
    up_to(Pfr0::DIT_SHIFT, 1),
];

pub const PFR1: &[Field] = &[up_to(Pfr1::GENTIMER_SHIFT, 1), special(Pfr1::GIC_SHIFT, Rule::Gic)];

pub const DFR0: &[Field] = &[
    fixed(Dfr0::COPDBG_SHIFT, 6), // Armv8.0
];

pub const MMFR0: &[Field] = &[
    up_to(Mmfr0::VMSA_SHIFT, 5),
    up_to(Mmfr0::OUTERSHR_SHIFT, 1),
    up_to(Mmfr0::SHARELVL_SHIFT, 1),
    up_to(Mmfr0::AUXREG_SHIFT, 2),
    up_to(Mmfr0::INNERSHR_SHIFT, 1),
];

pub const MMFR1: &[Field] = &[up_to(Mmfr1::BPRED_SHIFT, 4)];

pub const MMFR2: &[Field] =
    &[up_to(Mmfr2::UNITLB_SHIFT, 6), up_to(Mmfr2::MEMBARR_SHIFT, 2), up_to(Mmfr2::WFISTALL_SHIFT, 1)];

pub const MMFR3: &[Field] = &[
    up_to(Mmfr3::CMAINTVA_SHIFT, 1),
    up_to(Mmfr3::CMAINTSW_SHIFT, 1),
    up_to(Mmfr3::BPMAINT_SHIFT, 2),
    up_to(Mmfr3::MAINTBCST_SHIFT, 2),
    up_to(Mmfr3::PAN_SHIFT, 2),
    up_to(Mmfr3::COHWALK_SHIFT, 1),
    up_to(Mmfr3::CMEMSZ_SHIFT, 2),
    up_to(Mmfr3::SUPERSEC_SHIFT, 1),
];

pub const MMFR4: &[Field] =
    &[hazard(Mmfr4::SPECSEI_SHIFT, 1), up_to(Mmfr4::LSM_SHIFT, 1), up_to(Mmfr4::CCIDX_SHIFT, 1)];

pub const ISAR0: &[Field] = &[
    up_to(Isar0::SWAP_SHIFT, 1),
    up_to(Isar0::BITCOUNT_SHIFT, 1),
    up_to(Isar0::BITFIELD_SHIFT, 1),
    up_to(Isar0::CMPBRANCH_SHIFT, 1),
    up_to(Isar0::DEBUG_SHIFT, 1),
    up_to(Isar0::DIVIDE_SHIFT, 2),
];

pub const ISAR1: &[Field] = &[
    up_to(Isar1::ENDIAN_SHIFT, 1),
    up_to(Isar1::EXCEPT_SHIFT, 1),
    up_to(Isar1::EXCEPT_AR_SHIFT, 1),
    up_to(Isar1::EXTEND_SHIFT, 2),
    up_to(Isar1::IFTHEN_SHIFT, 1),
    up_to(Isar1::IMMEDIATE_SHIFT, 1),
    up_to(Isar1::INTERWORK_SHIFT, 3),
    up_to(Isar1::JAZELLE_SHIFT, 1),
];

pub const ISAR2: &[Field] = &[
    up_to(Isar2::LOADSTORE_SHIFT, 2),
    up_to(Isar2::MEMHINT_SHIFT, 4),
    up_to(Isar2::MULTIACCESSINT_SHIFT, 2),
    up_to(Isar2::MULT_SHIFT, 2),
    up_to(Isar2::MULTS_SHIFT, 3),
    up_to(Isar2::MULTU_SHIFT, 2),
    up_to(Isar2::PSR_AR_SHIFT, 1),
    up_to(Isar2::REVERSAL_SHIFT, 2),
];

pub const ISAR3: &[Field] = &[
    up_to(Isar3::SATURATE_SHIFT, 1),
    up_to(Isar3::SIMD_SHIFT, 3),
    up_to(Isar3::SVC_SHIFT, 1),
    up_to(Isar3::SYNCHPRIM_SHIFT, 2),
    up_to(Isar3::TABBRANCH_SHIFT, 1),
    up_to(Isar3::T32COPY_SHIFT, 1),
    up_to(Isar3::TRUENOP_SHIFT, 1),
];

pub const ISAR4: &[Field] = &[
    up_to(Isar4::UNPRIV_SHIFT, 2),
    up_to(Isar4::WITHSHIFTS_SHIFT, 4),
    up_to(Isar4::WRITEBACK_SHIFT, 1),
    up_to(Isar4::BARRIER_SHIFT, 1),
    up_to(Isar4::SYNCHPRIM_FRAC_SHIFT, 3),
    up_to(Isar4::PSR_M_SHIFT, 1),
];

pub const ISAR5: &[Field] = &[
    up_to(Isar5::SEVL_SHIFT, 1),
    up_to(Isar5::AES_SHIFT, 2),
    up_to(Isar5::SHA1_SHIFT, 1),
    up_to(Isar5::SHA2_SHIFT, 1),
    up_to(Isar5::CRC32_SHIFT, 1),
    up_to(Isar5::RDM_SHIFT, 1),
    up_to(Isar5::VCMA_SHIFT, 1),
];

pub const ISAR6: &[Field] = &[
    up_to(Isar6::JSCVT_SHIFT, 1),
    up_to(Isar6::DP_SHIFT, 1),
    up_to(Isar6::FHM_SHIFT, 1),
    up_to(Isar6::SB_SHIFT, 1),
    up_to(Isar6::SPECRES_SHIFT, 1),
    up_to(Isar6::BF16_SHIFT, 1),
    up_to(Isar6::I8MM_SHIFT, 1),
    up_to(Isar6::CLRBHB_SHIFT, 1),
];

pub const MVFR0: &[Field] = &[
    up_to(0, 2),  // SIMDReg
    up_to(4, 2),  // FPSP
    up_to(8, 2),  // FPDP
    up_to(12, 1), // FPTrap
    up_to(16, 1), // FPDivide
    up_to(20, 1), // FPSqrt
    up_to(24, 1), // FPShVec
    up_to(28, 1), // FPRound
];

pub const MVFR1: &[Field] = &[
    up_to(0, 1),  // FPFtZ
    up_to(4, 1),  // FPDNaN
    up_to(8, 1),  // SIMDLS
    up_to(12, 1), // SIMDInt
    up_to(16, 1), // SIMDSP
    up_to(20, 2), // SIMDHP
    up_to(24, 3), // FPHP
    up_to(28, 1), // SIMDFMAC
];

pub const MVFR2: &[Field] = &[
    up_to(0, 3), // SIMDMisc
    up_to(4, 4), // FPMisc
];

pub const PFR2: &[Field] = &[up_to(Pfr2::CSV3_SHIFT, 1), up_to(Pfr2::SSBS_SHIFT, 1)];
