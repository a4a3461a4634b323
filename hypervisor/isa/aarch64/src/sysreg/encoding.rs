//! Names of system registers, and accesses to them.

/// The name of a system register or instruction: op0, op1, CRn, CRm and op2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoding(pub(super) u16);

impl Encoding {
    /// From the numbers of the generic form `S<op0>_<op1>_C<crn>_C<crm>_<op2>`; excess bits are dropped.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Encoding {
        let (op0, op1, crn) = (op0 as u16 & 3, op1 as u16 & 7, crn as u16 & 15);
        let (crm, op2) = (crm as u16 & 15, op2 as u16 & 7);
        Encoding(op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)
    }

    /// op0, op1, CRn, CRm and op2.
    pub const fn parts(self) -> (u8, u8, u8, u8, u8) {
        (self.part(14, 3), self.part(11, 7), self.part(7, 15), self.part(3, 15), self.part(0, 7))
    }

    const fn part(self, low: u32, mask: u16) -> u8 {
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
