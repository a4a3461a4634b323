//! The AArch64 identification registers, CRm 4 to 7 (Arm ARM, D24.2, each register by its name).

use super::{Field, Rule, fixed, hazard, signed_up_to, special, up_to};

pub const PFR0: &[Field] = &[
    up_to(0, 2),         // EL0: AArch32 too
    fixed(4, 1),         // EL1: AArch64 only, as HCR_EL2.RW has it
    signed_up_to(16, 1), // FP, half precision
    signed_up_to(20, 1), // AdvSIMD
    special(24, Rule::Gic),
    up_to(48, 1), // DIT: in PSTATE
    up_to(56, 1), // CSV2: 2 would add SCXTNUM registers
    up_to(60, 1), // CSV3
];

pub const PFR1: &[Field] = &[
    up_to(0, 1),  // BT: branch targets, under SCTLR_EL1
    up_to(4, 2),  // SSBS: in PSTATE
    up_to(32, 1), // CSV2_frac: 2 would add SCXTNUM registers
];

pub const DFR0: &[Field] = &[
    fixed(0, 6),    // DebugVer: Armv8.0, the lowest
    up_to(12, 1),   // BRPs: two breakpoints, the fewest
    up_to(20, 1),   // WRPs: two watchpoints, the fewest
    fixed(36, 0xf), // DoubleLock: none, OSDLR_EL1 has no effect
];

pub const ISAR0: &[Field] = &[
    up_to(4, 2),  // AES, PMULL
    up_to(8, 1),  // SHA1
    up_to(12, 2), // SHA2: SHA512
    up_to(16, 1), // CRC32
    up_to(20, 2), // Atomic: LSE
    up_to(28, 1), // RDM
    up_to(32, 1), // SHA3
    up_to(36, 1), // SM3
    up_to(40, 1), // SM4
    up_to(44, 1), // DP
    up_to(48, 1), // FHM
    up_to(52, 2), // TS: FlagM, FlagM2
    up_to(56, 2), // TLB: outer shareable, range
    up_to(60, 1), // RNDR: only EL3 can trap it
];

pub const ISAR1: &[Field] = &[
    up_to(0, 2),  // DPB: DC CVAP, CVADP
    up_to(12, 1), // JSCVT
    up_to(16, 1), // FCMA
    up_to(20, 2), // LRCPC
    up_to(32, 1), // FRINTTS
    up_to(36, 1), // SB
    up_to(40, 1), // SPECRES: acts on the current VMID
    up_to(44, 2), // BF16: EBF16 is in FPCR
    up_to(48, 1), // DGH: a hint
    up_to(52, 1), // I8MM
];

pub const ISAR2: &[Field] = &[
    up_to(4, 1),  // RPRES: under FPCR.AH
    up_to(20, 1), // BC: a hint
    up_to(28, 1), // CLRBHB: a hint
    up_to(52, 1), // CSSC
];

pub const MMFR0: &[Field] = &[
    special(0, Rule::PhysicalRange),
    up_to(4, 2),         // ASIDBits
    up_to(8, 1),         // BigEnd
    up_to(16, 1),        // BigEndEL0
    up_to(20, 1),        // TGran16: 2 would be LPA2
    signed_up_to(24, 0), // TGran64
    signed_up_to(28, 0), // TGran4: 1 would be LPA2
    up_to(44, 1),        // ExS: under SCTLR_EL1
];

pub const MMFR1: &[Field] = &[
    up_to(0, 2),   // HAFDBS: 3 would need TCR2_EL1
    up_to(12, 2),  // HPDS
    up_to(20, 3),  // PAN: 3 is under SCTLR_EL1.EPAN
    hazard(24, 1), // SpecSEI
    up_to(44, 1),  // AFP: in FPCR
    up_to(60, 1),  // ECBHB
];

pub const MMFR2: &[Field] = &[
    up_to(0, 1),  // CnP: all vCPUs of a domain share its VMID
    up_to(4, 1),  // UAO: in PSTATE
    up_to(8, 1),  // LSM: under SCTLR_EL1
    up_to(16, 1), // VARange: 52 bits with 64 KiB pages
    up_to(20, 1), // CCIDX: the format of CCSIDR_EL1, which is not trapped
    up_to(28, 1), // ST
    up_to(32, 1), // AT: unaligned single-copy atomicity
    up_to(36, 1), // IDS: how hardware answers EL0
    up_to(48, 1), // TTL
    up_to(52, 2), // BBM
    up_to(60, 1), // E0PD
];
