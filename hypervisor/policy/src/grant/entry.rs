//! One entry of the table, in memory that the granting domain writes at the same time.

use xenolith_abi::grant::{EntryV1, GrantStatus, entry};

use super::Rights;
use xenolith_core::types::{DomId, Gfn};
use xenolith_hw::atomic::AtomicU32;
use xenolith_memory::page::{Page, Word};

/// An entry. Flags and domain are one word, so that both are judged and marked in one step.
pub struct SharedEntry {
    head: Word<AtomicU32>,
    frame: Word<AtomicU32>,
}

impl SharedEntry {
    /// The entry at a place in a frame of the table.
    pub fn of(page: Page, index: usize) -> Option<Self> {
        let offset = index.checked_mul(size_of::<EntryV1>())?;
        let frame = offset.checked_add(core::mem::offset_of!(EntryV1, frame))?;
        Some(SharedEntry { head: page.word32(offset)?, frame: page.word32(frame)? })
    }

    /// Marks the entry as used by `by`, if it says that `by` may. Returns the frame that it names afterwards.
    pub fn mark(&self, by: DomId, rights: Rights) -> Result<Gfn, GrantStatus> {
        let marks = match rights {
            Rights::ReadOnly => entry::READING,
            Rights::ReadWrite => entry::READING | entry::WRITING,
        };
        // Flags and domain come from one load: in two, the granter could pair a new domain with old flags.
        let permits = |head: u32| {
            let (flags, domain) = split(head);
            flags & entry::TYPE == entry::PERMIT_ACCESS
                && domain == by
                && (rights == Rights::ReadOnly || flags & entry::READ_ONLY == 0)
        };
        let found = self.head.update(|head| permits(head).then_some(head | u32::from(marks)));
        match found {
            // Read after the head: the granter writes the frame first and the flags last (`public/grant_table.h`).
            Ok(head) if permits(head) => Ok(Gfn(self.frame.load().into())),
            _ => Err(GrantStatus::GeneralError),
        }
    }

    /// Takes marks away. A granter that keeps changing the word meanwhile keeps the marks, to its own loss only.
    pub fn unmark(&self, marks: u16) {
        let _contended = self.head.clear(marks.into());
    }

    /// Exchanges two entries, for their owner: what it writes meanwhile may be lost.
    pub fn exchange(&self, other: &SharedEntry) {
        // Only we read entries for others, and under the table's lock: nobody acts on a half of the exchange.
        let (head, frame) = (self.head.load(), self.frame.load());
        self.head.store(other.head.load());
        self.frame.store(other.frame.load());
        other.head.store(head);
        other.frame.store(frame);
    }
}

fn split(head: u32) -> (u16, DomId) {
    let [flags_low, flags_high, domain_low, domain_high] = head.to_le_bytes();
    (u16::from_le_bytes([flags_low, flags_high]), DomId(u16::from_le_bytes([domain_low, domain_high])))
}

#[cfg(test)]
mod interleavings;
