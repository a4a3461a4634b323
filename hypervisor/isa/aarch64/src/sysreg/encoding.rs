//! Names of system registers, and accesses to them.

use arm_sysregs::el2::registers::EsrEl2;
use arm_sysregs::types::{EsrIssSysreg, EsrIssSysregDir};

/// The name of a system register or instruction: op0, op1, CRn, CRm and op2, where ESR_EL2.ISS has them for an access that
/// traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoding(u32);

impl Encoding {
    const OP0: u32 = 20;
    const OP2: u32 = 17;
    const OP1: u32 = 14;
    const CRN: u32 = 10;
    const CRM: u32 = 1;

    /// From the numbers of the generic form `S<op0>_<op1>_C<crn>_C<crm>_<op2>`; excess bits are dropped.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Encoding {
        let (op0, op1, crn) = (op0 as u32 & 3, op1 as u32 & 7, crn as u32 & 15);
        let (crm, op2) = (crm as u32 & 15, op2 as u32 & 7);
        Encoding(op0 << Self::OP0 | op2 << Self::OP2 | op1 << Self::OP1 | crn << Self::CRN | crm << Self::CRM)
    }

    /// op0, op1, CRn, CRm and op2.
    pub const fn parts(self) -> (u8, u8, u8, u8, u8) {
        (
            self.part(Self::OP0, 3),
            self.part(Self::OP1, 7),
            self.part(Self::CRN, 15),
            self.part(Self::CRM, 15),
            self.part(Self::OP2, 7),
        )
    }

    const fn part(self, low: u32, mask: u32) -> u8 {
        (self.0 >> low & mask) as u8
    }
}

/// One trapped access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysregAccess {
    /// The register or instruction.
    pub encoding: Encoding,
    /// The general-purpose register; 31 is the zero register.
    pub register: u8,
    /// MRS, not MSR or a system instruction.
    pub is_read: bool,
}

impl SysregAccess {
    /// What the syndrome of a trapped access says.
    pub fn of_syndrome(iss: EsrIssSysreg) -> Self {
        const NAME: u32 = EsrEl2::ISS_SYSREG_OPCODE_MASK.iss();
        SysregAccess {
            encoding: Encoding(iss.bits() & NAME),
            register: iss.rt(),
            is_read: iss.dir() == EsrIssSysregDir::Read,
        }
    }
}
