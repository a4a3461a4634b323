//! Numbers that a guest chose, as indices: what they lead to is bounded under speculation too.
//!
//! A bound that only a branch checks does not hold while a CPU guesses the branch (Spectre, variant 1). So such a number is
//! a type without a way to an element but through `index_nospec`, which bounds it by data.

use xenolith_hw::index_nospec;

use crate::types::VcpuId;

/// An index that a guest, or whoever makes a call, has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestIndex(usize);

impl GuestIndex {
    /// The index, if it is below `len`. What is returned is below it even where the check was guessed wrong.
    #[inline(always)]
    pub fn below(self, len: usize) -> Option<usize> {
        (self.0 < len).then(|| index_nospec(self.0, len))
    }

    /// The element, if there is one.
    #[inline(always)]
    pub fn of<T>(self, elements: &[T]) -> Option<&T> {
        elements.get(self.below(elements.len())?)
    }

    /// The element, to be changed.
    #[inline(always)]
    pub fn of_mut<T>(self, elements: &mut [T]) -> Option<&mut T> {
        let index = self.below(elements.len())?;
        elements.get_mut(index)
    }
}

impl From<u8> for GuestIndex {
    #[inline(always)]
    fn from(number: u8) -> Self {
        GuestIndex(number.into())
    }
}

impl From<u16> for GuestIndex {
    #[inline(always)]
    fn from(number: u16) -> Self {
        GuestIndex(number.into())
    }
}

impl From<u32> for GuestIndex {
    #[inline(always)]
    fn from(number: u32) -> Self {
        // No table has as many elements as a number has that fits no index.
        GuestIndex(usize::try_from(number).unwrap_or(usize::MAX))
    }
}

impl From<u64> for GuestIndex {
    #[inline(always)]
    fn from(number: u64) -> Self {
        GuestIndex(usize::try_from(number).unwrap_or(usize::MAX))
    }
}

impl From<usize> for GuestIndex {
    #[inline(always)]
    fn from(number: usize) -> Self {
        GuestIndex(number)
    }
}

impl From<VcpuId> for GuestIndex {
    #[inline(always)]
    fn from(vcpu: VcpuId) -> Self {
        vcpu.0.into()
    }
}

#[cfg(any(test, kani))]
mod proofs {
    use super::*;

    crate::proofs! {
        fn an_index_is_below_the_length(index: u64, len: usize) {
            let found = GuestIndex::from(index).below(len);
            assert!(found.is_none_or(|found| found < len && found as u64 == index));
            assert_eq!(found.is_some(), index < len as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_leads_to_its_element_or_to_none() {
        let mut elements = [10, 11, 12, 13];
        for index in 0..4_u16 {
            assert_eq!(GuestIndex::from(index).of(&elements), Some(&(10 + i32::from(index))));
        }
        for outside in [4, 5, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(GuestIndex::from(outside).of(&elements), None);
            assert_eq!(GuestIndex::from(outside).of_mut(&mut elements), None);
            assert_eq!(GuestIndex::from(outside).below(0), None);
        }
        *GuestIndex::from(VcpuId(3)).of_mut(&mut elements).unwrap() = 7;
        assert_eq!(elements, [10, 11, 12, 7]);
    }
}
