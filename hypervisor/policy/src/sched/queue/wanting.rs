//! How many units of each domain run or wait, on all queues together.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU16, Ordering};

use super::EntryId;

/// The numbers, by the domain's first unit. Who reads one may find that of a moment ago: then a domain pays for a few ticks as
/// before.
#[derive(Debug)]
pub struct Wanting(Box<[AtomicU16]>);

impl Wanting {
    /// For units whose numbers are below `units`, none of which wants to run.
    #[expect(clippy::disallowed_methods, reason = "made at boot")]
    pub fn new(units: usize) -> Self {
        Wanting((0..units).map(|_| AtomicU16::new(0)).collect())
    }

    /// A unit of this domain has come to a queue.
    #[inline]
    pub fn add(&self, group: EntryId) {
        if let Some(count) = self.0.get(usize::from(group.0)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One has left a queue.
    #[inline]
    pub fn remove(&self, group: EntryId) {
        if let Some(count) = self.0.get(usize::from(group.0)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many there are.
    #[inline]
    pub fn of(&self, group: EntryId) -> u16 {
        self.0.get(usize::from(group.0)).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
