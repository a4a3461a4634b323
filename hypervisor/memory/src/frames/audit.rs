//! Checks the frame table and the allocator against each other, and counts what is whose.
//!
//! It walks all frames, so it is for tests, for the first boot and for the books at a domain's death, and only when
//! no other CPU changes anything meanwhile.

use super::{FrameRange, FrameState, Frames};
use xenolith_core::types::{DomId, Mfn};

/// The frames of the machine by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// In the allocator.
    pub free: u64,
    /// Never given to the allocator.
    pub reserved: u64,
    /// Owned by the domain asked about and not given up.
    pub allocated: u64,
    /// Given up by the domain asked about, with references left.
    pub lingering: u64,
    /// References to the domain's frames other than its own allocations.
    pub foreign_references: u64,
    /// In use by others.
    pub others: u64,
}

/// A frame that the table and the allocator disagree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent(pub Mfn);

impl Frames {
    /// Counts all frames, with `owner` as the domain asked about.
    pub fn audit(&self, owner: DomId) -> Result<Census, Inconsistent> {
        let buddy = self.buddy.lock();
        let mut census = Census::default();
        for FrameRange { first, pages } in self.banks.iter().map(|bank| bank.range) {
            for mfn in (first.0..first.0.saturating_add(pages)).map(Mfn) {
                let state = self.state(mfn).map_err(|_| Inconsistent(mfn))?;
                if buddy.is_free(mfn.0) != matches!(state, FrameState::Free { .. }) {
                    return Err(Inconsistent(mfn));
                }
                match state {
                    FrameState::Free { .. } => census.free += 1,
                    FrameState::Reserved => census.reserved += 1,
                    FrameState::Scrubbing => return Err(Inconsistent(mfn)),
                    FrameState::Used(used) if used.owner == owner => {
                        let own = u64::from(used.allocated);
                        census.allocated += own;
                        census.lingering += 1 - own;
                        census.foreign_references += u64::from(used.references).saturating_sub(own);
                    }
                    FrameState::Used(_) => census.others += 1,
                }
            }
        }
        if census.free != buddy.free_frames() {
            return Err(Inconsistent(Mfn(0)));
        }
        Ok(census)
    }
}
