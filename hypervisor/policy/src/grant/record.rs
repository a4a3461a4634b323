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

/// The uses of a grant by a domain. One domain at a time: the entry names one.
#[derive(Debug)]
pub(super) struct Use<F> {
    /// The frame of the first use, until the last use ends.
    pub(super) frame: F,
    /// The domain that uses it.
    pub(super) by: DomId,
    readers: u16,
    writers: u16,
    /// Whether the granter may write the frame.
    pub(super) writable: bool,
}

/// A grant in use, or not.
#[derive(Debug)]
pub(super) struct Grant<F>(pub(super) Option<Use<F>>);

// Two pages of them for each frame of the table: they are charged to the domain by pages.
#[cfg(target_os = "none")]
const _: () = assert!(size_of::<Grant<xenolith_memory::frames::FrameRef>>() == 16);

impl<F> Grant<F> {
    pub(super) const UNUSED: Grant<F> = Grant(None);

    /// How often it is in use for reading only, and for writing.
    pub(super) fn counts(&self) -> (u16, u16) {
        self.0.as_ref().map_or((0, 0), |used| (used.readers, used.writers))
    }

    /// The marks that the entry should not have by these counts.
    pub(super) fn surplus(&self) -> u16 {
        match self.counts() {
            (0, 0) => entry::READING | entry::WRITING,
            (_, 0) => entry::WRITING,
            _ => 0,
        }
    }
}

impl<F> Use<F> {
    /// The first use is about to begin.
    pub(super) fn new(found: Resolved<F>, by: DomId) -> Self {
        Use { frame: found.frame, by, readers: 0, writers: 0, writable: found.writable }
    }

    /// The count of uses with these rights.
    pub(super) fn count(&mut self, rights: Rights) -> &mut u16 {
        match rights {
            Rights::ReadOnly => &mut self.readers,
            Rights::ReadWrite => &mut self.writers,
        }
    }

    /// Nobody uses it to write.
    pub(super) fn is_only_read(&self) -> bool {
        self.writers == 0
    }
}
