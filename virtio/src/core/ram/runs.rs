//! Which region an address is in, without a search through them.
//!
//! A guest's RAM is cut at multiples of one size, so that within a bank the number of a region is a quotient. Regions
//! for which that holds are a run; the regions of a guest make as many runs as it has banks, which are few. Any other
//! set of regions is looked up right as well, in as many runs as it needs.

use super::Bank;

/// Regions by their places in a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// A slot has `1 << shift` bytes, and no region has more. Less than 64.
    shift: u32,
    runs: Vec<Run>,
}

/// Regions without a gap, each within one slot, in slots one after the other.
#[derive(Clone, Debug)]
struct Run {
    base: u64,
    /// The address behind the last region.
    end: u64,
    /// Where the first slot begins, at or before `base`.
    origin: u64,
    /// The first region's place in the list.
    first: usize,
}

impl Runs {
    /// The runs that `regions` make. `None`: they overlap, are out of order, or pass the end of the address space.
    pub(super) fn of(regions: impl Iterator<Item = Bank> + Clone) -> Option<Runs> {
        let largest = regions.clone().map(|region| region.size).max().unwrap_or(1);
        let slot = largest.checked_next_power_of_two()?;
        let mut all = Runs { shift: slot.trailing_zeros(), runs: Vec::new() };
        for (index, region) in regions.enumerate() {
            let end = region.base.checked_add(region.size)?;
            if let Some(run) = all.runs.last_mut() {
                if region.base < run.end {
                    return None;
                }
                let count = u64::try_from(index.checked_sub(run.first)?).ok()?;
                let next_slot = count.checked_mul(slot).and_then(|past| run.origin.checked_add(past));
                // It must begin where a slot does, or the quotient of its addresses would be its neighbour's.
                if region.base == run.end && next_slot == Some(region.base) {
                    run.end = end;
                    continue;
                }
            }
            // The first region ends with its slot, so that the next one can begin with its own.
            all.runs.push(Run { base: region.base, end, origin: end.saturating_sub(slot), first: index });
        }
        Some(all)
    }

    /// The place of the region that an address is in.
    #[inline]
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let run = self.runs.iter().find(|run| run.base <= address && address < run.end)?;
        let slot = address.checked_sub(run.origin)?.wrapping_shr(self.shift);
        run.first.checked_add(usize::try_from(slot).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bank(base: u64, size: u64) -> Bank {
        Bank { base, size }
    }

    #[test]
    fn the_chunks_of_a_bank_are_one_run() {
        let chunks = [bank(0x3000, 0x1000), bank(0x4000, 0x4000), bank(0x8000, 0x4000), bank(0xc000, 0x10)];
        let other = [bank(0xe000, 0x2000), bank(0x1_0000, 0x4000)];
        let runs = Runs::of([&chunks[..], &other].concat().into_iter()).unwrap();
        assert_eq!(runs.runs.len(), 2);
        for (address, place) in [
            (0x2fff, None),
            (0x3000, Some(0)),
            (0x4000, Some(1)),
            (0xbfff, Some(2)),
            (0xc00f, Some(3)),
            (0xc010, None),
            (0xdfff, None),
            (0xe000, Some(4)),
            (0x1_0000, Some(5)),
            (0x1_3fff, Some(5)),
            (0x1_4000, None),
        ] {
            assert_eq!(runs.find(address), place, "{address:#x}");
        }
    }

    #[test]
    fn regions_are_in_order_and_apart() {
        for regions in [
            [bank(0x1000, 0x1000), bank(0x1fff, 1)],
            [bank(0x1000, 0x1000), bank(0x1000, 0x1000)],
            [bank(0x2000, 0x1000), bank(0x1000, 0x1000)],
            [bank(0, 1), bank(u64::MAX, 1)],
        ] {
            assert!(Runs::of(regions.into_iter()).is_none(), "{regions:x?}");
        }
        assert_eq!(Runs::default().find(0), None);
    }

    proptest! {
        /// The same as a search, whatever the sizes and gaps are.
        #[test]
        fn an_address_is_found_where_it_is(
            start in prop_oneof![0..20u64, u64::MAX - 200..u64::MAX - 160],
            shape in prop::collection::vec((prop_oneof![Just(0), 0..5u64], prop_oneof![Just(4), 1..10u64]), 1..12),
        ) {
            let mut next = start;
            let mut regions = Vec::new();
            for (gap, size) in shape {
                regions.push(bank(next + gap, size));
                next += gap + size;
            }
            let runs = Runs::of(regions.iter().copied()).unwrap();
            for address in start.saturating_sub(3)..next + 3 {
                let place = regions.iter().position(|at| at.base <= address && address < at.base + at.size);
                prop_assert_eq!(runs.find(address), place, "{:x}", address);
            }
        }
    }
}
