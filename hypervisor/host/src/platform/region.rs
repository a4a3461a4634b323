//! Ranges of physical addresses, and the few set operations that a memory map needs.
//!
//! A [`Region`] is never empty and never wraps, so code that holds one adds and compares without checks. Lists of them are
//! made once, at boot, and may overlap until they are merged: that is why they are no `xenolith_memory::intervals`.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::fmt;

use xenolith_core::types::{PAGE_SIZE, Pa};

/// A range of machine addresses: at least one byte, and its end is at most 2^64 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    start: u64,
    end: u64,
}

impl Region {
    /// The `size` bytes from `start` on; `None` if there are none or if they reach the end of the address space.
    pub fn new(start: Pa, size: u64) -> Option<Region> {
        Region::between(start.0, start.0.checked_add(size)?)
    }

    /// The bytes from `start` up to, not including, `end`; `None` if there are none.
    pub fn between(start: u64, end: u64) -> Option<Region> {
        (start < end).then_some(Region { start, end })
    }

    /// The first byte.
    pub fn start(self) -> Pa {
        Pa(self.start)
    }

    /// The byte after the last one.
    pub fn end(self) -> Pa {
        Pa(self.end)
    }

    /// What a directly mapped guest has at the same addresses; `None` if it is no range of machine addresses.
    pub fn from_guest(guest: machine_model::Region) -> Option<Region> {
        Region::new(Pa(guest.start), guest.size)
    }

    /// The same addresses, as a guest has them that is directly mapped.
    pub fn as_guest(self) -> machine_model::Region {
        machine_model::Region::new(self.start, self.size())
    }

    /// Bytes in the region; at least one.
    pub fn size(self) -> u64 {
        self.end - self.start
    }

    /// Whether each byte of `other` is in this region.
    pub fn contains(self, other: Region) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two have a byte in common.
    pub fn overlaps(self, other: Region) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The whole pages that the region touches. At the very end of the address space the last page is cut short.
    pub fn to_pages(self) -> Region {
        let mask = PAGE_SIZE - 1;
        Region { start: self.start & !mask, end: self.end.checked_add(mask).map_or(!mask, |end| end & !mask) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.end - 1)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same bytes, in ascending order, with neighbours and overlaps joined.
pub fn merge(regions: Vec<Region>) -> Vec<Region> {
    let mut regions = BinaryHeap::from(regions).into_sorted_vec();
    regions.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
    regions
}

/// The bytes of `from` that are in none of `without`, merged.
pub fn subtract(from: &[Region], without: &[Region]) -> Vec<Region> {
    let without = merge(without.to_vec());
    let mut left = Vec::new();
    for region in merge(from.to_vec()) {
        let mut start = region.start;
        let first = without.partition_point(|hole| hole.end <= region.start);
        for hole in without.iter().skip(first).take_while(|hole| hole.start < region.end) {
            left.extend(Region::between(start, hole.start));
            start = hole.end;
        }
        left.extend(Region::between(start, region.end));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets() -> impl Strategy<Value = Vec<Region>> {
        prop::collection::vec((0u64..200, 1u64..40), 0..12)
            .prop_map(|list| list.iter().filter_map(|&(start, size)| Region::new(Pa(start), size)).collect())
    }

    fn holds(set: &[Region], byte: u64) -> bool {
        set.iter().any(|region| region.start <= byte && byte < region.end)
    }

    fn is_normal(set: &[Region]) -> bool {
        set.windows(2).all(|pair| pair[0].end < pair[1].start) && set.iter().all(|r| r.start < r.end)
    }

    proptest! {
        #[test]
        fn merging_keeps_each_byte_and_orders(set in sets()) {
            let merged = merge(set.clone());
            prop_assert!(is_normal(&merged));
            for byte in 0..260 {
                prop_assert_eq!(holds(&set, byte), holds(&merged, byte));
            }
        }

        #[test]
        fn subtracting_keeps_exactly_the_rest(from in sets(), without in sets()) {
            let left = subtract(&from, &without);
            prop_assert!(is_normal(&left));
            for byte in 0..260 {
                prop_assert_eq!(holds(&from, byte) && !holds(&without, byte), holds(&left, byte));
            }
        }
    }

    #[test]
    fn a_region_is_neither_empty_nor_wrapped() {
        assert_eq!(Region::new(Pa(4), 0), None);
        assert_eq!(Region::new(Pa(u64::MAX), 1), None);
        assert_eq!(Region::new(Pa(u64::MAX - 1), 1).map(Region::size), Some(1));
        assert_eq!(Region::between(5, 4), None);
    }

    #[test]
    fn pages_are_widened_outwards() {
        let region = Region::between(0x1fff, 0x2001).unwrap();
        assert_eq!(region.to_pages(), Region::between(0x1000, 0x3000).unwrap());
        let last = Region::between(u64::MAX - 2, u64::MAX).unwrap();
        assert!(last.to_pages().size() <= PAGE_SIZE);
    }
}
