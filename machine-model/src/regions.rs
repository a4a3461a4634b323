//! Addresses where a guest may map other domains' memory without giving up memory of its own.

use alloc::vec::Vec;

use crate::{Region, layout};

/// To what a region's start and end are aligned.
const ALIGNMENT: u64 = 2 << 20;
/// Bytes below which Xen does not offer a region. Linux takes blocks of 128 MiB, aligned to that.
const MIN_SIZE: u64 = 64 << 20;

/// The regions of a guest whose memory is in `banks` (the first of each place in [`layout::RAM`]) and whose addresses
/// have `address_bits` bits: what is left of each place behind its bank. Ascending, apart from each other, in units of
/// 2 MiB; regions below 64 MiB are left out.
pub fn extended_regions(banks: &[Region], address_bits: u32) -> Vec<Region> {
    let limit = 1u64.checked_shl(address_bits).unwrap_or(u64::MAX);
    let mut regions = Vec::new();
    for place in layout::RAM {
        let place_end = place.end().unwrap_or(u64::MAX).min(limit) & !(ALIGNMENT - 1);
        let bank = banks.iter().find(|bank| bank.overlaps(place));
        let used = bank.and_then(|bank| bank.end()).unwrap_or(place.start);
        let Some(start) = used.checked_next_multiple_of(ALIGNMENT) else { continue };
        let Some(size) = place_end.checked_sub(start) else { continue };
        if size >= MIN_SIZE {
            regions.push(Region::new(start, size));
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::banks;
    use proptest::prelude::*;
    use std::vec;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_small_guest_gets_what_xen_gives_it() {
        let regions = extended_regions(&banks(128 * MIB).unwrap(), 40);
        let expected = [Region::new(0x4800_0000, 0xb800_0000), Region::new(0x2_0000_0000, 0xfe_0000_0000)];
        assert_eq!(regions, expected);
    }

    #[test]
    fn a_full_bank_and_a_small_rest_offer_nothing() {
        let full = extended_regions(&banks(3 << 30).unwrap(), 40);
        assert_eq!(full, vec![Region::new(0x2_0000_0000, 0xfe_0000_0000)]);
        let nearly = extended_regions(&banks((3 << 30) - 63 * MIB).unwrap(), 32);
        assert_eq!(nearly, vec![]);
    }

    proptest! {
        #[test]
        fn a_region_is_no_memory_and_can_be_addressed(pages in 1u64..(64 << 18), bits in 30u32..52) {
            let banks = banks(pages * layout::PAGE_SIZE).unwrap();
            let regions = extended_regions(&banks, bits);
            for region in &regions {
                prop_assert!(region.start % ALIGNMENT == 0 && region.size % ALIGNMENT == 0);
                prop_assert!(region.size >= MIN_SIZE && region.end().unwrap() <= 1 << bits);
                prop_assert!(banks.iter().all(|&bank| !bank.overlaps(*region)));
            }
            prop_assert!(regions.windows(2).all(|pair| pair[0].end().unwrap() <= pair[1].start));
        }
    }
}
