//! The AArch32 identification registers, CRm 1 to 3 (Arm ARM, D24.2, each register by its name).
//!
//! A guest uses AArch32 at EL0 only. Fields about AArch32 at EL1 (security extensions, virtualisation, SMC, debug)
//! read as on a CPU whose EL1 is AArch64 only.

use super::{Field, Rule, fixed, hazard, special, up_to};

pub const PFR0: &[Field] = &[
    up_to(0, 1),  // State0: A32
    up_to(4, 3),  // State1: T32
    up_to(8, 1),  // State2: trivial Jazelle
    up_to(16, 1), // CSV2
    up_to(24, 1), // DIT
];

pub const PFR1: &[Field] = &[
    up_to(16, 1), // GenTimer
    special(28, Rule::Gic),
];

pub const DFR0: &[Field] = &[
    fixed(0, 6), // CopDbg: Armv8.0
];

pub const MMFR0: &[Field] = &[
    up_to(0, 5),  // VMSA
    up_to(8, 1),  // OuterShr
    up_to(12, 1), // ShareLvl
    up_to(20, 2), // AuxReg
    up_to(28, 1), // InnerShr
];

pub const MMFR1: &[Field] = &[
    up_to(28, 4), // BPred
];

pub const MMFR2: &[Field] = &[
    up_to(16, 6), // UniTLB
    up_to(20, 2), // MemBarr
    up_to(24, 1), // WFIStall
];

pub const MMFR3: &[Field] = &[
    up_to(0, 1),  // CMaintVA
    up_to(4, 1),  // CMaintSW
    up_to(8, 2),  // BPMaint
    up_to(12, 2), // MaintBcst
    up_to(16, 2), // PAN
    up_to(20, 1), // CohWalk
    up_to(24, 2), // CMemSz
    up_to(28, 1), // Supersec
];

pub const MMFR4: &[Field] = &[
    hazard(0, 1), // SpecSEI
    up_to(20, 1), // LSM
    up_to(24, 1), // CCIDX
];

pub const ISAR0: &[Field] = &[
    up_to(0, 1),  // Swap
    up_to(4, 1),  // BitCount
    up_to(8, 1),  // BitField
    up_to(12, 1), // CmpBranch
    up_to(20, 1), // Debug
    up_to(24, 2), // Divide
];

pub const ISAR1: &[Field] = &[
    up_to(0, 1),  // Endian
    up_to(4, 1),  // Except
    up_to(8, 1),  // Except_AR
    up_to(12, 2), // Extend
    up_to(16, 1), // IfThen
    up_to(20, 1), // Immediate
    up_to(24, 3), // Interwork
    up_to(28, 1), // Jazelle
];

pub const ISAR2: &[Field] = &[
    up_to(0, 2),  // LoadStore
    up_to(4, 4),  // MemHint
    up_to(8, 2),  // MultiAccessInt
    up_to(12, 2), // Mult
    up_to(16, 3), // MultS
    up_to(20, 2), // MultU
    up_to(24, 1), // PSR_AR
    up_to(28, 2), // Reversal
];

pub const ISAR3: &[Field] = &[
    up_to(0, 1),  // Saturate
    up_to(4, 3),  // SIMD
    up_to(8, 1),  // SVC
    up_to(12, 2), // SynchPrim
    up_to(16, 1), // TabBranch
    up_to(20, 1), // T32Copy
    up_to(24, 1), // TrueNOP
];

pub const ISAR4: &[Field] = &[
    up_to(0, 2),  // Unpriv
    up_to(4, 4),  // WithShifts
    up_to(8, 1),  // Writeback
    up_to(16, 1), // Barrier
    up_to(20, 3), // SynchPrim_frac
    up_to(24, 1), // PSR_M
];

pub const ISAR5: &[Field] = &[
    up_to(0, 1),  // SEVL
    up_to(4, 2),  // AES
    up_to(8, 1),  // SHA1
    up_to(12, 1), // SHA2
    up_to(16, 1), // CRC32
    up_to(24, 1), // RDM
    up_to(28, 1), // VCMA
];

pub const ISAR6: &[Field] = &[
    up_to(0, 1),  // JSCVT
    up_to(4, 1),  // DP
    up_to(8, 1),  // FHM
    up_to(12, 1), // SB
    up_to(16, 1), // SPECRES
    up_to(20, 1), // BF16
    up_to(24, 1), // I8MM
    up_to(28, 1), // CLRBHB
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

pub const PFR2: &[Field] = &[
    up_to(0, 1), // CSV3
    up_to(4, 1), // SSBS
];
