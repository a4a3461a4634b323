//! Sets of vCPUs.

use core::ops::{BitOr, BitOrAssign};

use crate::types::VcpuId;

/// A set of vCPUs of one domain, bit n being vCPU n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VcpuSet(pub u128);

impl VcpuSet {
    /// vCPUs with this number or a higher one cannot be members.
    pub const CAPACITY: u16 = 128;

    /// One vCPU; none at all when the number is beyond the capacity.
    #[inline]
    pub fn one(vcpu: VcpuId) -> Self {
        VcpuSet(1_u128.checked_shl(vcpu.0.into()).unwrap_or(0))
    }

    /// Adds a vCPU; one beyond the capacity is left out.
    #[inline]
    pub fn insert(&mut self, vcpu: VcpuId) {
        *self |= VcpuSet::one(vcpu);
    }

    /// Removes a vCPU.
    #[inline]
    pub fn remove(&mut self, vcpu: VcpuId) {
        self.0 &= !VcpuSet::one(vcpu).0;
    }

    /// Whether the vCPU is in the set.
    #[inline]
    pub fn contains(self, vcpu: VcpuId) -> bool {
        self.0 & VcpuSet::one(vcpu).0 != 0
    }

    /// Whether the set has no member.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The member with the lowest number.
    #[inline]
    pub fn first(self) -> Option<VcpuId> {
        u16::try_from(self.0.trailing_zeros()).ok().filter(|_| !self.is_empty()).map(VcpuId)
    }

    /// The members, lowest number first.
    pub fn iter(self) -> impl Iterator<Item = VcpuId> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let first = rest.first()?;
            rest.0 &= rest.0.wrapping_sub(1);
            Some(first)
        })
    }
}

impl BitOr for VcpuSet {
    type Output = VcpuSet;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        VcpuSet(self.0 | other.0)
    }
}

impl BitOrAssign for VcpuSet {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_set() {
        let mut set = VcpuSet::default();
        assert_eq!((set.is_empty(), set.first(), set.iter().count()), (true, None, 0));
        for number in [127, 0, 5, VcpuSet::CAPACITY, u16::MAX] {
            set.insert(VcpuId(number));
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 127].map(VcpuId));
        assert!(set.contains(VcpuId(127)) && !set.contains(VcpuId(VcpuSet::CAPACITY)));
        set.remove(VcpuId(0));
        set.remove(VcpuId(VcpuSet::CAPACITY));
        assert_eq!((set.first(), set.iter().count()), (Some(VcpuId(5)), 2));
        assert_eq!(set | VcpuSet::one(VcpuId(1)), VcpuSet(1 << 127 | 1 << 5 | 1 << 1));
    }
}
