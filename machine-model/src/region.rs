//! A range of guest physical addresses.

use xenolith_abi::{Gfn, Ipa};

/// A range of guest physical addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The first address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Region {
    /// The range of `size` bytes from `start` on.
    pub const fn new(start: u64, size: u64) -> Region {
        Region { start, size }
    }

    /// The address behind the last one; `None` if that is behind the address space.
    pub const fn end(self) -> Option<u64> {
        self.start.checked_add(self.size)
    }

    /// The frame in which it begins.
    pub const fn first_frame(self) -> Gfn {
        Ipa(self.start).frame()
    }

    /// Whether an address is in both.
    pub fn overlaps(self, other: Region) -> bool {
        let end = |region: Region| region.end().unwrap_or(u64::MAX);
        self.size != 0 && other.size != 0 && self.start < end(other) && other.start < end(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_where_an_address_is_in_both() {
        let range = Region::new(0x1000, 0x1000);
        assert!(range.overlaps(Region::new(0x1fff, 1)) && range.overlaps(Region::new(0, u64::MAX)));
        assert!(!range.overlaps(Region::new(0x2000, 1)) && !range.overlaps(Region::new(0x1800, 0)));
        assert_eq!((range.end(), Region::new(u64::MAX, 1).end()), (Some(0x2000), None));
    }
}
