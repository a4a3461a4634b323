//! A set of small numbers that finds its next member in a few steps, whatever its size.
//!
//! Level 0 has a bit for each number. A bit of each level above says that a word of the level below is not zero, up to
//! a level of a single word. Searching, adding and removing touch one word a level: four for a terabyte of frames.

use xenolith_core::bug;

/// Bits in a word.
const WORD: usize = u64::BITS as usize;
/// Levels that any set can have: 64 to the power of 11 exceeds a `usize`.
const LEVELS: usize = 11;

/// A set of numbers below a limit, in storage that was handed in.
pub struct Bitmap {
    words: &'static mut [u64],
    bits: usize,
}

impl Bitmap {
    /// How many words of storage a set of numbers below `bits` needs.
    pub const fn words_needed(bits: usize) -> usize {
        if bits == 0 {
            return 0;
        }
        let mut words = bits.div_ceil(WORD);
        let mut sum = words;
        while words > 1 {
            words = words.div_ceil(WORD);
            sum += words;
        }
        sum
    }

    /// An empty set of numbers below `bits`. `None` when the storage is not exactly [`Self::words_needed`] long.
    pub fn new(words: &'static mut [u64], bits: usize) -> Option<Self> {
        if words.len() != Self::words_needed(bits) {
            return None;
        }
        words.fill(0);
        Some(Bitmap { words, bits })
    }

    /// Whether `number` is a member.
    pub fn contains(&self, number: usize) -> bool {
        number < self.bits
            && self.words.get(number / WORD).is_some_and(|word| word >> (number % WORD) & 1 == 1)
    }

    /// Adds `number`; false when it was a member already or is not below the limit.
    pub fn insert(&mut self, number: usize) -> bool {
        if number >= self.bits || self.contains(number) {
            return false;
        }
        self.climb(number, |word, bit| {
            let before = *word;
            *word |= bit;
            before == 0
        });
        true
    }

    /// Removes `number`; false when it was not a member.
    pub fn remove(&mut self, number: usize) -> bool {
        if !self.contains(number) {
            return false;
        }
        self.climb(number, |word, bit| {
            *word &= !bit;
            *word == 0
        });
        true
    }

    /// Applies `change` to the word and bit of `number` at each level, upwards, for as long as it returns true.
    fn climb(&mut self, number: usize, change: impl Fn(&mut u64, u64) -> bool) {
        let mut position = number;
        for offset in self.offsets().into_iter().flatten() {
            let bit = 1 << (position % WORD);
            position /= WORD;
            let Some(word) = self.words.get_mut(offset + position) else {
                return bug!("a bitmap without a word");
            };
            if !change(word, bit) {
                return;
            }
        }
    }

    /// Where each level begins in the storage.
    fn offsets(&self) -> [Option<usize>; LEVELS] {
        let mut offsets = [None; LEVELS];
        let mut words = self.bits.div_ceil(WORD);
        let mut offset = 0;
        for slot in &mut offsets {
            if words == 0 {
                break;
            }
            *slot = Some(offset);
            offset += words;
            words = if words == 1 { 0 } else { words.div_ceil(WORD) };
        }
        offsets
    }

    /// The smallest member that is not below `from`.
    pub fn next_from(&self, from: usize) -> Option<usize> {
        if from >= self.bits {
            return None;
        }
        let offsets = self.offsets();
        let mut position = from;
        for (level, offset) in offsets.iter().enumerate() {
            let word = *self.words.get((*offset)? + position / WORD)?;
            let masked = word & (u64::MAX << (position % WORD));
            if masked != 0 {
                let found = position / WORD * WORD + masked.trailing_zeros() as usize;
                return self.descend(&offsets, level, found);
            }
            // Nothing left in this word: the summary knows the next word that has a member.
            position = position / WORD + 1;
            let next = offsets.get(level + 1).copied().flatten()?;
            if position >= next.saturating_sub((*offset)?) {
                return None;
            }
        }
        None
    }

    /// The smallest member under bit `position` of `level`, whose summary says that there is one.
    fn descend(&self, offsets: &[Option<usize>; LEVELS], level: usize, position: usize) -> Option<usize> {
        let mut position = position;
        for offset in offsets.iter().take(level).rev() {
            let word = *self.words.get((*offset)? + position)?;
            position = position * WORD + word.trailing_zeros() as usize;
        }
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bitmap(bits: usize) -> Bitmap {
        let words = vec![u64::MAX; Bitmap::words_needed(bits)].leak();
        Bitmap::new(words, bits).unwrap()
    }

    #[test]
    fn storage_is_little_more_than_a_bit_per_number() {
        assert_eq!(Bitmap::words_needed(0), 0);
        assert_eq!(Bitmap::words_needed(1), 1);
        assert_eq!(Bitmap::words_needed(64), 1);
        assert_eq!(Bitmap::words_needed(65), 3);
        assert_eq!(Bitmap::words_needed(64 * 64), 65);
        assert_eq!(Bitmap::words_needed(64 * 64 + 1), 65 + 2 + 1);
        assert!(Bitmap::new(vec![0; 2].leak(), 65).is_none());
    }

    #[test]
    fn an_empty_domain_has_no_members() {
        let mut set = bitmap(0);
        assert!(!set.insert(0));
        assert_eq!(set.next_from(0), None);
    }

    #[test]
    fn numbers_at_word_boundaries_and_limits() {
        for bits in [1, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262_144, 262_145] {
            let mut set = bitmap(bits);
            assert!(!set.insert(bits));
            assert!(!set.insert(usize::MAX));
            assert_eq!(set.next_from(0), None);
            assert!(set.insert(bits - 1));
            assert!(!set.insert(bits - 1));
            assert_eq!(set.next_from(0), Some(bits - 1));
            assert_eq!(set.next_from(bits - 1), Some(bits - 1));
            assert_eq!(set.next_from(bits), None);
            assert_eq!(set.next_from(usize::MAX), None);
            assert!(set.remove(bits - 1));
            assert!(!set.remove(bits - 1));
            assert_eq!(set.next_from(0), None);
            assert!(set.words.iter().all(|&word| word == 0), "summaries follow");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(
            bits in 1_usize..20_000,
            steps in proptest::collection::vec((any::<bool>(), 0_usize..20_000), 1..200),
        ) {
            let mut set = bitmap(bits);
            let mut model = BTreeSet::new();
            for (add, number) in steps {
                if add {
                    prop_assert_eq!(set.insert(number), number < bits && model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
                prop_assert_eq!(set.contains(number), model.contains(&number));
                for from in [0, number, number + 1, bits / 2] {
                    prop_assert_eq!(set.next_from(from), model.range(from..).next().copied());
                }
            }
        }
    }
}
