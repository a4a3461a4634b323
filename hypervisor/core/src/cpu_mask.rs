//! Sets of CPUs.

use crate::types::CpuId;

/// A set of up to 64 physical CPUs, bit n being CPU n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CpuMask(pub u64);

impl CpuMask {
    /// No CPU.
    pub const NONE: CpuMask = CpuMask(0);
    /// Every CPU that a machine can have.
    pub const ALL: CpuMask = CpuMask(u64::MAX);

    /// One CPU; none at all when the number is beyond what a mask holds.
    pub fn one(cpu: CpuId) -> Self {
        CpuMask(1u64.checked_shl(u32::from(cpu.0)).unwrap_or(0))
    }

    /// The CPUs numbered below `count`.
    pub fn below(count: u16) -> Self {
        CpuMask(1u64.checked_shl(u32::from(count)).map_or(u64::MAX, |bit| bit.wrapping_sub(1)))
    }

    /// Whether no CPU is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `cpu` is in the set.
    pub fn contains(self, cpu: CpuId) -> bool {
        !self.and(CpuMask::one(cpu)).is_empty()
    }

    /// The CPUs in both sets.
    pub fn and(self, other: CpuMask) -> CpuMask {
        CpuMask(self.0 & other.0)
    }

    /// The CPUs in either set.
    pub fn or(self, other: CpuMask) -> CpuMask {
        CpuMask(self.0 | other.0)
    }

    /// The set without one CPU.
    pub fn without(self, cpu: CpuId) -> CpuMask {
        CpuMask(self.0 & !CpuMask::one(cpu).0)
    }

    /// The CPUs of the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = CpuId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let lowest = u16::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest.wrapping_sub(1);
            Some(CpuId(lowest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_mask() {
        assert_eq!(CpuMask::one(CpuId(63)), CpuMask(1 << 63));
        assert_eq!(CpuMask::one(CpuId(64)), CpuMask::NONE);
        assert_eq!(CpuMask::below(0), CpuMask::NONE);
        assert_eq!(CpuMask::below(3), CpuMask(0b111));
        assert_eq!(CpuMask::below(64), CpuMask::ALL);
        assert_eq!(CpuMask(0b1010).iter().collect::<Vec<_>>(), [CpuId(1), CpuId(3)]);
        assert_eq!(CpuMask::NONE.iter().count(), 0);
        assert_eq!(CpuMask::ALL.iter().collect::<Vec<_>>(), (0..64).map(CpuId).collect::<Vec<_>>());
        assert!(!CpuMask::ALL.contains(CpuId(64)));
        assert_eq!(CpuMask(0b111).without(CpuId(1)), CpuMask(0b101));
        assert_eq!(CpuMask::ALL.without(CpuId(64)), CpuMask::ALL);
    }
}
