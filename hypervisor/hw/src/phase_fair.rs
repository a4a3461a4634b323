//! A lock with many readers or one writer, for which nobody waits without end: readers and writers take turns (Brandenburg and
//! Anderson, "Reader-Writer Synchronization for Shared-Memory Multiprocessor Real-Time Systems", 2009, the ticket form).
//!
//! A writer keeps out the readers who come after it, and waits for those who came before it. A reader waits for one writer at
//! most: it is counted before that one ends, so the next writer waits for it. Writers go in the order in which they come.
//!
//! So nobody may read who reads already: a writer that has come between waits for the first, and keeps the second out.

use lock_api::{GuardNoSend, RawRwLock};

use crate::atomic::{AtomicU32, Ordering};
use crate::relax;

/// Of [`PhaseFair::arrived`]: a writer is there; and a bit that changes with each, so that one is told from the next.
const WRITER: u32 = PRESENT | PHASE;
const PRESENT: u32 = 2;
const PHASE: u32 = 1;
/// One reader.
const READER: u32 = 4;

/// The lock alone. `lock_api::RwLock` puts it around a value.
#[derive(Debug)]
pub struct PhaseFair {
    /// Readers that have come, from bit 2 up, and the writer that keeps out those who come now. Counts wrap.
    arrived: AtomicU32,
    /// Readers that have gone, from bit 2 up.
    left: AtomicU32,
    /// Tickets that writers have taken, and the one whose turn it is.
    tickets: AtomicU32,
    serving: AtomicU32,
}

impl PhaseFair {
    #[cold]
    #[inline(never)]
    fn wait_for_writer(&self, writer: u32) {
        // The next writer differs from this one, and waits for us.
        while self.arrived.load(Ordering::Acquire) & WRITER == writer {
            relax();
        }
    }
}

// SAFETY: a writer has the lock once `left` has come to what `arrived` was when it set PRESENT, until it clears that. All who
// read then were counted before, and have gone; who is counted after that finds the bit, and waits until it is gone or the phase has
// changed. In the new phase another writer may be there, which found the reader counted, and waits for it. Of writers one
// at a time has the turn, and passes it on with PRESENT clear.
unsafe impl RawRwLock for PhaseFair {
    #[allow(clippy::declare_interior_mutable_const, reason = "so `lock_api` makes a lock that is free")]
    const INIT: Self = PhaseFair {
        arrived: AtomicU32::new(0),
        left: AtomicU32::new(0),
        tickets: AtomicU32::new(0),
        serving: AtomicU32::new(0),
    };

    type GuardMarker = GuardNoSend;

    #[inline(always)]
    fn lock_shared(&self) {
        let arrived = self.arrived.fetch_add(READER, Ordering::Acquire);
        if arrived & PRESENT != 0 {
            self.wait_for_writer(arrived & WRITER);
        }
    }

    fn try_lock_shared(&self) -> bool {
        let arrived = self.arrived.load(Ordering::Relaxed);
        arrived & PRESENT == 0
            && self
                .arrived
                .compare_exchange(arrived, arrived.wrapping_add(READER), Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[inline(always)]
    unsafe fn unlock_shared(&self) {
        self.left.fetch_add(READER, Ordering::Release);
    }

    #[inline(never)]
    fn lock_exclusive(&self) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            relax();
        }
        let arrived = self.arrived.fetch_or(PRESENT, Ordering::Acquire) & !WRITER;
        while self.left.load(Ordering::Acquire) != arrived {
            relax();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        let serving = self.serving.load(Ordering::Acquire);
        let next = serving.wrapping_add(1);
        if self.tickets.compare_exchange(serving, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        // The turn is ours, so no writer is there.
        let arrived = self.arrived.load(Ordering::Relaxed);
        let is_free = self.left.load(Ordering::Acquire) == arrived & !WRITER
            && self
                .arrived
                .compare_exchange(arrived, arrived | PRESENT, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_free {
            self.serving.store(next, Ordering::Release);
        }
        is_free
    }

    #[inline(never)]
    unsafe fn unlock_exclusive(&self) {
        self.arrived.fetch_xor(PRESENT | PHASE, Ordering::Release);
        let next = self.serving.load(Ordering::Relaxed).wrapping_add(1);
        self.serving.store(next, Ordering::Release);
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
