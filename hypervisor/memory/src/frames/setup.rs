//! How the frame tables come to be, before there is a heap.

use arrayvec::ArrayVec;

use super::buddy::{self, Buddy};
use super::entry::{Entry, FrameState};
use super::{Bank, FrameError, FrameRange, Frames, MAX_BANKS, Scrub};
use xenolith_core::sync::Mutex;
use xenolith_core::types::Mfn;
use xenolith_hw::atomic::AtomicU64;

/// How much memory the tables need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageNeeded {
    /// Words for the allocator: about two bits for each frame.
    pub bitmap_words: usize,
    /// Words for the frame table: one for each frame.
    pub table_words: usize,
}

impl StorageNeeded {
    /// Both together, in bytes.
    pub const fn bytes(self) -> usize {
        (self.bitmap_words + self.table_words) * size_of::<u64>()
    }
}

/// What the tables for `banks` need.
pub const fn storage_needed(banks: &[FrameRange]) -> StorageNeeded {
    let mut needed = StorageNeeded { bitmap_words: 0, table_words: 0 };
    let mut rest = banks;
    while let Some((&bank, more)) = rest.split_first() {
        needed.bitmap_words += buddy::words_needed(bank);
        needed.table_words += bank.pages as usize;
        rest = more;
    }
    needed
}

/// Memory for the tables. It may lie in a bank, which then is told to [`Frames::new`] as reserved.
pub struct Storage {
    /// As many words as [`StorageNeeded::bitmap_words`] says, or more.
    pub bitmaps: &'static mut [u64],
    /// As many words as [`StorageNeeded::table_words`] says, or more.
    pub table: &'static mut [AtomicU64],
}

/// Why the tables cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// More than [`MAX_BANKS`] banks.
    TooManyBanks,
    /// Two banks have a frame in common, or one wraps around the end of memory.
    BadBank,
    /// There is less storage than [`storage_needed`] says.
    StorageTooSmall,
}

impl Frames {
    /// Takes charge of all RAM in `banks`. What is not in `reserved` is free, and dirty until it is scrubbed. Ranges
    /// in `reserved` may overlap each other and lie outside all banks. Frame 0 is never given out, because its address
    /// is no valid pointer.
    ///
    /// # Safety
    /// Each frame of `banks` that is not reserved is RAM, mapped at EL2 at its own address for ever, and nothing else
    /// in the hypervisor uses it.
    pub unsafe fn new(
        banks: &[FrameRange],
        reserved: &[FrameRange],
        storage: Storage,
        scrub: &'static dyn Scrub,
    ) -> Result<Self, SetupError> {
        if banks.len() > MAX_BANKS {
            return Err(SetupError::TooManyBanks);
        }
        let mut known: ArrayVec<Bank, MAX_BANKS> = ArrayVec::new();
        let mut entries = 0_usize;
        for &range in banks {
            let end = range.first.0.checked_add(range.pages).ok_or(SetupError::BadBank)?;
            if known.iter().any(|bank| bank.range.first.0 < end && range.first.0 < bank.range.end()) {
                return Err(SetupError::BadBank);
            }
            known.push(Bank { range, entries });
            let pages = usize::try_from(range.pages).map_err(|_| SetupError::BadBank)?;
            entries = entries.checked_add(pages).ok_or(SetupError::BadBank)?;
        }
        let table: &'static [AtomicU64] = storage.table;
        let table = table.get(..entries).ok_or(SetupError::StorageTooSmall)?;
        // What no gap between reserved ranges frees below stays reserved.
        for word in table {
            Entry(word).set(FrameState::Reserved);
        }
        let buddy = Buddy::new(banks, storage.bitmaps).ok_or(SetupError::StorageTooSmall)?;
        let frames = Frames {
            banks: known,
            table,
            buddy: Mutex::new(buddy),
            scrub,
            #[cfg(not(target_os = "none"))]
            loan: None,
            #[cfg(not(target_os = "none"))]
            exists: Default::default(),
        };
        for &bank in banks {
            frames.free_the_gaps(bank, reserved);
        }
        Ok(frames)
    }

    /// Gives the allocator what no reserved range covers.
    fn free_the_gaps(&self, bank: FrameRange, reserved: &[FrameRange]) {
        let end = bank.end();
        let mut at = bank.first.0.max(1);
        while at < end {
            // Past all reserved ranges that cover this frame, one after the other.
            if let Some(cover) = reserved.iter().find(|range| range.contains(Mfn(at))) {
                at = cover.end();
                continue;
            }
            let next = reserved.iter().map(|range| range.first.0).filter(|&first| first > at).min();
            let stop = next.unwrap_or(end).min(end);
            for number in at..stop {
                if let Ok(entry) = self.entry(Mfn(number)) {
                    entry.set(FrameState::Free { dirty: true });
                }
            }
            self.buddy.lock().give(FrameRange { first: Mfn(at), pages: stop.saturating_sub(at) });
            at = stop;
        }
    }

    /// Frees reserved frames that are no longer needed, such as a boot module that has been copied; like all that is free
    /// at boot they are dirty until they are scrubbed. Stops at a frame that is not reserved; the frames before it are
    /// free.
    ///
    /// # Safety
    /// As for [`Frames::new`], for these frames.
    pub unsafe fn reclaim(&self, range: FrameRange) -> Result<(), FrameError> {
        let mut run = FrameRange { first: range.first, pages: 0 };
        let mut result = Ok(());
        for number in range.first.0..range.end() {
            let reclaimed =
                if number == 0 { Err(FrameError::NotReserved) } else { self.reclaim_one(Mfn(number)) };
            if let Err(error) = reclaimed {
                result = Err(error);
                break;
            }
            run.pages += 1;
        }
        self.buddy.lock().give(run);
        result
    }

    fn reclaim_one(&self, mfn: Mfn) -> Result<(), FrameError> {
        let entry = self.entry(mfn)?;
        entry.reclaim()?;
        entry.set(FrameState::Free { dirty: true });
        Ok(())
    }
}
