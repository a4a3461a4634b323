//! The feature registers of this CPU, as the raw material of what guests are told (`xenolith_isa::sysreg`).

use xenolith_isa::sysreg::IdRegisters;

macro_rules! registers {
    ($($crm:literal)*) => {
        [$(
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_0")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_1")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_2")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_3")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_4")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_5")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_6")),
            read_sysreg!(concat!("s3_0_c0_c", $crm, "_7")),
        )*]
    };
}

/// Reads all registers of the ID space: op0 3, op1 0, CRn 0, CRm 1 to 7. Unallocated ones read as zero.
#[inline(never)]
pub fn read() -> IdRegisters {
    IdRegisters(registers!("1" "2" "3" "4" "5" "6" "7"))
}

/// ACTLR_EL1.
pub fn auxiliary_control() -> u64 {
    read_sysreg!("actlr_el1")
}
