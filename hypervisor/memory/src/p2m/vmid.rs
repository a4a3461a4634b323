//! Which VMIDs are in use. Every CPU tells at least 256 of them apart (ID_AA64MMFR1_EL1.VMIDBits), so no more are given
//! out: domains' numbers go much further.

use super::Vmid;

/// VMIDs in all.
const COUNT: u16 = 256;
/// Words of the map.
const WORDS: usize = (COUNT / 64) as usize;

/// The VMIDs that domains have. 0 is given to none: it stands for a CPU that runs no guest.
#[derive(Debug)]
pub struct Vmids([u64; WORDS]);

impl Default for Vmids {
    fn default() -> Self {
        let mut used = [0; WORDS];
        used[0] = 1;
        Vmids(used)
    }
}

impl Vmids {
    /// Takes the lowest one that is free; `None` when all are in use.
    pub fn take(&mut self) -> Option<Vmid> {
        let (number, word) = (0..).zip(&mut self.0).find(|(_, word)| **word != u64::MAX)?;
        let bit = word.trailing_ones() as u16;
        *word |= 1 << bit;
        Some(Vmid(number * 64 + bit))
    }

    /// Makes one free. No TLB holds anything under it any more.
    pub fn give_back(&mut self, vmid: Vmid) {
        if let Some(word) = self.0.get_mut(usize::from(vmid.0 / 64)).filter(|_| vmid.0 != 0) {
            *word &= !(1 << (vmid.0 % 64));
        }
    }

    /// How many are in use, by domains.
    pub fn in_use(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_given_once_and_0_never() {
        let mut vmids = Vmids::default();
        for number in 1..COUNT {
            assert_eq!(vmids.take(), Some(Vmid(number)));
        }
        assert_eq!(vmids.take(), None);
        vmids.give_back(Vmid(0));
        vmids.give_back(Vmid(COUNT));
        assert_eq!((vmids.take(), vmids.in_use()), (None, 255));
        vmids.give_back(Vmid(130));
        assert_eq!(vmids.take(), Some(Vmid(130)));
    }
}
