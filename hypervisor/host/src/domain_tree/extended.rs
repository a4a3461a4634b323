//! Addresses where a domain may map other domains' memory without giving up memory of its own.

use alloc::vec::Vec;

use crate::platform::{Region, subtract};
use xenolith_core::types::{Ipa, Pa};

/// To what a region's start and end are aligned.
const ALIGNMENT: u64 = 2 << 20;
/// Bytes below which Xen does not offer a region. Linux takes blocks of 128 MiB, aligned to that.
const MIN_SIZE: u64 = 64 << 20;
/// Regions that are offered at most, the first ones.
const MAX_REGIONS: usize = 64;

/// The regions for a domain whose memory is where the machine's is: machine memory that is not its own, so that no
/// address that its devices can reach changes its meaning. `used` is all that must stay out: the domain's memory,
/// the grant window, what is reserved. Ascending, apart from each other, in units of 2 MiB.
pub fn extended_regions(memory: &[Region], used: &[Region]) -> Vec<(Ipa, u64)> {
    let aligned = |region: Region| {
        let start = region.start().0.checked_next_multiple_of(ALIGNMENT)?;
        Region::between(start, region.end().0 & !(ALIGNMENT - 1))
    };
    subtract(memory, used)
        .into_iter()
        .filter_map(aligned)
        .filter(|region| region.size() >= MIN_SIZE)
        .map(|region| {
            let Pa(start) = region.start();
            (Ipa(start), region.size())
        })
        .take(MAX_REGIONS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn region(start: u64, end: u64) -> Region {
        Region::between(start, end).unwrap()
    }

    #[test]
    fn what_is_left_of_memory_is_offered_in_whole_units() {
        let memory = [region(0x4000_0000, 0xc000_0000)];
        let used = [region(0x5000_0000, 0x7000_1000), region(0x4000_0000, 0x4020_0000)];
        let expected = [(Ipa(0x4020_0000), 0xfe0_0000), (Ipa(0x7020_0000), 0x4fe0_0000)];
        assert_eq!(extended_regions(&memory, &used), expected);
        assert_eq!(extended_regions(&memory[..0], &used), []);
    }

    #[test]
    fn small_ones_are_not_offered() {
        assert_eq!(extended_regions(&[region(MIB, 65 * MIB)], &[]), []);
        assert_eq!(extended_regions(&[region(MIB, 66 * MIB)], &[]), [(Ipa(2 * MIB), 64 * MIB)]);
    }

    proptest! {
        #[test]
        fn each_is_free_memory_in_order(
            memory in prop::collection::vec((0u64..4096, 1u64..1024), 1..6),
            used in prop::collection::vec((0u64..4096, 1u64..512), 0..8),
        ) {
            let regions = |list: Vec<(u64, u64)>| -> Vec<Region> {
                list.into_iter().map(|(start, size)| region(start * MIB / 2, (start + size) * MIB / 2)).collect()
            };
            let (memory, used) = (regions(memory), regions(used));
            let offered = extended_regions(&memory, &used);
            for (index, &(Ipa(start), size)) in offered.iter().enumerate() {
                let this = region(start, start + size);
                prop_assert!(subtract(&[this], &memory).is_empty());
                prop_assert!(!used.iter().any(|used| used.overlaps(this)));
                prop_assert!(start % ALIGNMENT == 0 && size % ALIGNMENT == 0 && size >= MIN_SIZE);
                prop_assert!(index == 0 || offered[index - 1].0.0 + offered[index - 1].1 < start);
            }
        }
    }
}
