//! Finding a domain's frames when nothing else leads to them.

use super::Frames;
use xenolith_core::types::{DomId, Mfn};

/// What [`Frames::find_ram_of`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// This one.
    Found(Mfn),
    /// None so far: to be asked again from this frame on.
    Later(Mfn),
    /// There is none further on.
    End,
}

impl Frames {
    /// The first page of `owner`'s RAM, from frame `from` on, that it has not given up. Looks at no more than `budget`
    /// frames.
    pub fn find_ram_of(&self, owner: DomId, from: Mfn, budget: u32) -> Search {
        let mut left = u64::from(budget);
        // The banks are in order.
        for range in self.banks.iter().map(|bank| bank.range) {
            let first = from.0.max(range.first.0);
            for mfn in (first..range.end()).map(Mfn) {
                let Some(rest) = left.checked_sub(1) else { return Search::Later(mfn) };
                left = rest;
                if self.is_ram_of(mfn, owner) {
                    return Search::Found(mfn);
                }
            }
        }
        Search::End
    }
}
