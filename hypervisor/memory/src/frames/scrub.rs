//! Wiping what a frame held before someone else gets it.
//!
//! The zeroes must reach memory itself, because the next owner may look with its caches off (Xen's advisory 364), and
//! RAM that was free at boot may hold what ran on the machine before (advisory 245).
//!
//! An instruction cache may hold on to what was executed there. All of them are invalidated before a domain gets frames that
//! were wiped since the last time: once for many frames, so that it costs other CPUs' caches no more than what any guest may
//! do to them by itself (IC IALLUIS).

use core::sync::atomic::{AtomicU64, Ordering};

use super::{FrameRange, FrameState, Frames, MAX_ORDER};
use crate::page::Page;
use xenolith_core::types::{Mfn, PAGE_SIZE};

/// The most frames that [`Frames::scrub_some`] has out of the allocator at a time, as an order.
const CHUNK_ORDER: u8 = 4;
/// The most frames that are wiped in one go of [`Frames::scrub_ahead`]: about 20,000 instructions.
const AHEAD: u64 = 16;

/// How a frame is wiped.
pub trait Scrub: Sync {
    /// Leaves nothing but zeroes in the frame, for every observer.
    fn scrub(&self, page: Page);

    /// Has no CPU execute what frames held before they were wiped.
    fn forget_instructions(&self) {
        xenolith_hw::sync_instructions();
    }
}

/// How far instruction caches are behind: frames whose content is gone, and how many of them no CPU has instructions of.
#[derive(Default)]
pub(super) struct Instructions {
    gone: AtomicU64,
    forgotten: AtomicU64,
}

impl Instructions {
    /// The content of a frame is gone.
    pub fn note_gone(&self) {
        self.gone.fetch_add(1, Ordering::Release);
    }

    /// Forgets those of all frames whose content is gone.
    pub fn forget(&self, scrub: &dyn Scrub) {
        let gone = self.gone.load(Ordering::Acquire);
        // Who finds that it is done finds it completed: another CPU that is at it has not counted it yet.
        if self.forgotten.load(Ordering::Acquire) < gone {
            scrub.forget_instructions();
            self.forgotten.fetch_max(gone, Ordering::Release);
        }
    }
}

/// Zeroes a frame and cleans it out of the data caches.
pub struct ZeroAndClean;

impl Scrub for ZeroAndClean {
    fn scrub(&self, page: Page) {
        page.zero();
        xenolith_hw::clean_to_memory(page.mfn().base().0, PAGE_SIZE);
    }
}

/// How far [`Frames::scrub_some`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor(u64);

impl Frames {
    /// Wipes free frames that are still as they were at boot, one block of at most 16, and moves the cursor behind
    /// it. False when there are none left behind the cursor. No lock is held while memory is written; meanwhile the
    /// block is not in the allocator, but counts as free.
    pub fn scrub_some(&self, cursor: &mut ScrubCursor) -> bool {
        let chunk = {
            let mut buddy = self.buddy.lock();
            let Some(mut block) = buddy.next_block(cursor.0) else { return false };
            block.pages = block.pages.min(1 << CHUNK_ORDER);
            // Out of the allocator meanwhile, or what another CPU gets from it and writes would be wiped.
            if !buddy.lend(block) {
                return false;
            }
            block
        };
        // Dirty frames that come in before it later (`reclaim`) are wiped when they are handed out.
        cursor.0 = chunk.end();
        self.scrub_lent(chunk);
        true
    }

    /// Wipes some frames, still as they were at boot, of the block of 2^order frames that [`Self::alloc`] would hand out now.
    /// False when it has none, so that handing it out takes no long time. Each that is wiped is one less for everybody: who
    /// calls this again and again comes to an end.
    pub fn scrub_ahead(&self, order: u8) -> bool {
        if order > MAX_ORDER {
            return false;
        }
        let chunk = {
            let mut buddy = self.buddy.lock();
            let Some(block) = buddy.next_taken(order) else { return false };
            let first = (block.first.0..block.end()).find(|&number| self.is_dirty(Mfn(number)));
            let Some(first) = first else { return false };
            // Few, as nobody gets what is lent.
            let pages = block.end().saturating_sub(first).min(AHEAD);
            let chunk = FrameRange { first: Mfn(first), pages };
            if !buddy.lend(chunk) {
                return false;
            }
            chunk
        };
        self.scrub_lent(chunk);
        true
    }

    /// Whether a frame that is free has not been wiped since boot.
    fn is_dirty(&self, mfn: Mfn) -> bool {
        self.state(mfn) == Ok(FrameState::Free { dirty: true })
    }

    /// Wipes what is dirty of frames that were lent, and gives them back.
    fn scrub_lent(&self, chunk: FrameRange) {
        for number in chunk.first.0..chunk.end() {
            // What was used and freed since boot was wiped then.
            if self.is_dirty(Mfn(number)) {
                self.wipe(Mfn(number));
            }
        }
        self.mark_wiped(chunk);
        self.buddy.lock().give_lent(chunk);
    }

    /// Wipes all free frames that are still as they were at boot.
    pub fn scrub_all_free(&self) {
        let mut cursor = ScrubCursor::default();
        while self.scrub_some(&mut cursor) {}
    }
}
