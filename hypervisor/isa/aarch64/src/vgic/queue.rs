//! The interrupts that concern a vCPU now, as a set of INTIDs: one bit each, and one bit for each word that is not
//! empty. Finding them costs in proportion to their number; an empty set is one comparison.

use super::interrupt::{BANK_SIZE, bit, bits};
use xenolith_core::bug;
use xenolith_core::types::Intid;

/// Words of a set that holds INTIDs 0 to 1023.
const WORDS: usize = 32;

/// A set of INTIDs.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Bit *n*: word *n* is not zero.
    occupied: u32,
    words: [u32; WORDS],
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Replaces the bits of `mask` in word `n`. Returns those that are new.
    #[inline]
    pub(super) fn replace(&mut self, n: usize, mask: u32, with: u32) -> u32 {
        let Some(word) = self.words.get_mut(n) else {
            bug!("no such interrupt");
            return 0;
        };
        let old = *word;
        *word = (old & !mask) | (with & mask);
        let occupied = 1_u32 << (n % WORDS);
        if *word == 0 {
            self.occupied &= !occupied;
        } else {
            self.occupied |= occupied;
        }
        *word & !old
    }

    /// Adds an interrupt. Whether it is new.
    pub(super) fn insert(&mut self, intid: Intid) -> bool {
        self.replace((intid.0 / BANK_SIZE) as usize, bit(intid), u32::MAX) != 0
    }

    /// Takes an interrupt out.
    pub(super) fn remove(&mut self, intid: Intid) {
        self.replace((intid.0 / BANK_SIZE) as usize, bit(intid), 0);
    }

    /// The only interrupt, if there is but one.
    pub(super) fn only(&self) -> Option<Intid> {
        let n = self.occupied.is_power_of_two().then(|| self.occupied.trailing_zeros())?;
        let word = self.words.get(n as usize).filter(|word| word.is_power_of_two())?;
        Some(Intid(n * BANK_SIZE + word.trailing_zeros()))
    }

    /// The words that are not empty, with their numbers.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        bits(self.occupied).filter_map(|n| Some((n as usize, *self.words.get(n as usize)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(operations in prop::collection::vec((any::<bool>(), prop_oneof![0u32..4, 0u32..1024]), 0..200)) {
            let mut queue = Queue::default();
            let mut model = BTreeSet::new();
            for (insert, intid) in operations.into_iter().map(|(insert, intid)| (insert, Intid(intid))) {
                if insert {
                    prop_assert_eq!(queue.insert(intid), model.insert(intid));
                } else {
                    queue.remove(intid);
                    model.remove(&intid);
                }
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.only(), model.first().copied().filter(|_| model.len() == 1));
            }
            let found: Vec<Intid> = queue
                .words()
                .flat_map(|(n, word)| bits(word).map(move |b| Intid(n as u32 * BANK_SIZE + b)))
                .collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        }
    }
}
