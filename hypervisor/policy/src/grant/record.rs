//! What is known of one grant: how often it is in use, and the frame that its first use found.

use xenolith_abi::grant::entry;

use super::Rights;
use xenolith_core::types::DomId;

/// A frame of the granting domain, found by its number.
#[derive(Debug)]
pub struct Resolved<F> {
    /// The reference to it.
    pub frame: F,
    /// Whether that domain may write it.
    pub writable: bool,
}

/// A grant in use, or not.
#[derive(Debug)]
pub(super) struct Grant<F> {
    /// The frame of the first use, until the last use ends.
    pub(super) frame: Option<Resolved<F>>,
    /// The domain that uses it. One at a time: the entry names one.
    pub(super) by: DomId,
    pub(super) readers: u32,
    pub(super) writers: u32,
}

impl<F> Grant<F> {
    pub(super) const UNUSED: Grant<F> = Grant { frame: None, by: DomId::INVALID, readers: 0, writers: 0 };

    /// The count of uses with these rights.
    pub(super) fn count(&mut self, rights: Rights) -> &mut u32 {
        match rights {
            Rights::ReadOnly => &mut self.readers,
            Rights::ReadWrite => &mut self.writers,
        }
    }

    /// The marks that the entry should not have by these counts.
    pub(super) fn surplus(&self) -> u16 {
        match (self.readers, self.writers) {
            (0, 0) => entry::READING | entry::WRITING,
            (_, 0) => entry::WRITING,
            _ => 0,
        }
    }
}
