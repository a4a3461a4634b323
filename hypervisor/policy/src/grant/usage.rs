//! Using what a domain grants: from the first use of an entry to the end of the last one.

use xenolith_abi::grant::{ENTRIES_PER_FRAME, GrantStatus};

use super::entry::SharedEntry;
use super::record::{Grant, Resolved, Use};
use super::{GrantTable, Rights, SharedFrame};
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_memory::page::Page;

/// Whether a domain has a use of a frame: what [`GrantTable::lends`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// The domain uses the frame by one of the table's grants.
    Yes,
    /// No grant of the table says so.
    No,
    /// The budget ended before the table did: to be asked again from this reference on.
    Unknown(u32),
}

impl<F: SharedFrame> GrantTable<F> {
    /// The state of a grant, if the table has or had the frame for its entry.
    fn grant(&self, reference: u32) -> Option<&Grant<F>> {
        self.grants.get(reference)
    }

    /// The state of a grant, and its entry while the table has the frame for it.
    fn find(&mut self, reference: u32) -> Option<(&mut Grant<F>, Option<SharedEntry>)> {
        let shared = GuestIndex::from(reference / ENTRIES_PER_FRAME).of(&self.frames);
        let index = (reference % ENTRIES_PER_FRAME) as usize;
        let entry = shared.and_then(|shared| SharedEntry::of(shared.frame.page(), index));
        Some((self.grants.get_mut(reference)?, entry))
    }

    /// Begins a use of a grant by the domain `by`, and returns the frame, which stays until [`GrantTable::release`].
    /// `resolve` is asked at the first use.
    ///
    /// `BadDomain`: the granter dies. `BadReference`: the table has no such entry. `GeneralError`: the entry does not
    /// grant this to `by`, another domain uses it, `by` uses it 65535 times in this way, or the granter keeps changing it.
    /// `BadPage`: the frame is not the granter's to give.
    pub fn acquire(
        &mut self,
        reference: u32,
        by: DomId,
        rights: Rights,
        resolve: impl FnOnce(Gfn, Rights) -> Option<Resolved<F>>,
    ) -> Result<Page, GrantStatus> {
        if self.closed {
            return Err(GrantStatus::BadDomain);
        }
        let (grant, entry) = self.find(reference).ok_or(GrantStatus::BadReference)?;
        let entry = entry.ok_or(GrantStatus::BadReference)?;
        // The granter may have written another domain into the entry meanwhile: that one waits for the end of these
        // uses.
        if grant.0.as_ref().is_some_and(|used| used.by != by) {
            return Err(GrantStatus::GeneralError);
        }
        let writes = rights == Rights::ReadWrite;
        match &mut grant.0 {
            Some(used) => {
                // Before the entry is marked, so that a full count leaves nothing to undo.
                let count = used.count(rights).checked_add(1).ok_or(GrantStatus::GeneralError)?;
                if writes && !used.writable {
                    return Err(GrantStatus::BadPage);
                }
                // So far it was used for reading only: the entry has to allow writing as well, and to show it.
                if writes && used.is_only_read() {
                    entry.mark(by, rights)?;
                }
                *used.count(rights) = count;
                Ok(used.frame.page())
            }
            None => {
                let gfn = entry.mark(by, rights)?;
                let Some(found) = resolve(gfn, rights) else {
                    // There is no use, so that these are the marks that were just set.
                    entry.unmark(grant.surplus());
                    return Err(GrantStatus::BadPage);
                };
                let used = grant.0.insert(Use::new(found, by));
                *used.count(rights) = 1;
                let page = used.frame.page();
                self.in_use = self.in_use.saturating_add(1);
                Ok(page)
            }
        }
    }

    /// Ends a use that [`GrantTable::acquire`] began with the same rights. After the last one the reference to the
    /// frame comes back.
    #[must_use]
    pub fn release(&mut self, reference: u32, rights: Rights) -> Option<F> {
        let (grant, entry) = self.find(reference)?;
        let used = grant.0.as_mut()?;
        *used.count(rights) = used.count(rights).checked_sub(1)?;
        // No CPU reaches the page by this use any more: once the marks are gone, the granter may use it otherwise.
        if let Some(entry) = entry {
            entry.unmark(grant.surplus());
        }
        if grant.counts() != (0, 0) {
            return None;
        }
        let used = grant.0.take()?;
        self.in_use = self.in_use.saturating_sub(1);
        Some(used.frame)
    }

    /// Whether `to` has a use of the frame `mfn` that began by this table. At most `budget` entries are looked at,
    /// beginning with `from`.
    pub fn lends(&self, mfn: Mfn, to: DomId, from: u32, budget: u32) -> Lent {
        let end = from.saturating_add(budget);
        for reference in from..end {
            let Some(grant) = self.grant(reference) else { return Lent::No };
            if grant.0.as_ref().is_some_and(|used| used.by == to && used.frame.page().mfn() == mfn) {
                return Lent::Yes;
            }
        }
        Lent::Unknown(end)
    }

    /// Exchanges two entries of the table (`GNTTABOP_swap_grant_ref`), for its owner. `BadReference`: the table has
    /// no such entry. `TryAgain`: one is in use.
    pub fn swap(&mut self, a: u32, b: u32) -> GrantStatus {
        let entries = [a, b].map(|reference| self.find(reference).and_then(|(_, entry)| entry));
        let [Some(first), Some(second)] = entries else { return GrantStatus::BadReference };
        // The record of a use, and the marks, belong to the number: what is in use keeps its place.
        if [a, b].iter().any(|&reference| self.grant(reference).is_some_and(|grant| grant.0.is_some())) {
            return GrantStatus::TryAgain;
        }
        first.exchange(&second);
        GrantStatus::Okay
    }

    /// How often a grant is in use for reading only, and for writing.
    #[cfg(test)]
    pub fn uses(&self, reference: u32) -> (u16, u16) {
        self.grant(reference).map_or((0, 0), Grant::counts)
    }
}
