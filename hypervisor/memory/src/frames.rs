//! Who owns each machine frame, and until when.
//!
//! A frame is freed when its last reference goes. The owner's allocation holds one; every mapping in another domain,
//! every grant mapping and every [`FrameRef`] holds another, so a frame never changes hands under someone who uses it. What
//! a free frame held is wiped before anyone else can get it. Mistakes of a caller are errors by name, never panics.
//!
//! Memory for the tables is handed in at boot, because the heap comes later: [`storage_needed`] says how much.

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::page::Page;
use xenolith_core::bug;
use xenolith_core::sync::Mutex;
use xenolith_core::types::{DomId, Mfn};
use xenolith_hw::atomic::AtomicU64;

mod area;
mod audit;
mod buddy;
mod entry;
mod promise;
mod reference;
mod scrub;
mod search;
mod setup;
mod tables;
#[cfg(test)]
mod tests;

pub use area::{ABOVE_4_GIB, Area, LOW_PIECES};
pub use audit::{Census, Inconsistent};
pub use entry::{FrameState, Used};
pub use promise::Short;
pub use reference::FrameRef;
pub use scrub::{Scrub, ScrubCursor, ZeroAndClean};
pub use search::Search;
pub use setup::{SetupError, Storage, StorageNeeded, storage_needed};

use buddy::Buddy;
use entry::Entry;
use scrub::Instructions;

/// The largest block is 2^18 frames: 1 GiB.
pub const MAX_ORDER: u8 = 18;
/// The most banks of RAM. Adjoining banks may be passed as one.
pub const MAX_BANKS: usize = 16;

/// Neighbouring frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRange {
    /// The first of them.
    pub first: Mfn,
    /// Number of frames.
    pub pages: u64,
}

impl FrameRange {
    /// The number after the last frame's.
    pub const fn end(self) -> u64 {
        self.first.0.saturating_add(self.pages)
    }

    /// Whether `mfn` is one of them.
    pub const fn contains(self, mfn: Mfn) -> bool {
        self.first.0 <= mfn.0 && mfn.0 < self.end()
    }

    fn numbers(self) -> Option<Range<u64>> {
        Some(self.first.0..self.first.0.checked_add(self.pages)?)
    }
}

/// What a frame in use serves for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The hypervisor's own: heap, stacks, per-CPU data. No domain can ever map it.
    Hypervisor,
    /// A domain's RAM.
    Ram,
    /// A stage-2 table of its owner. No domain can ever map it.
    Table,
    /// Made by the hypervisor for the owner and mapped by domains: shared info, grant table, ioreq pages.
    Shared,
}

impl Kind {
    /// Whether frames of this kind may get a second reference.
    pub const fn can_be_mapped(self) -> bool {
        matches!(self, Kind::Ram | Kind::Shared)
    }
}

/// What an allocated frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeroes. Anything that a domain can read has to begin like this.
    Zeroed,
    /// Anything: the caller overwrites all of it.
    Any,
}

/// Why the frame table refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// The number is in no bank of RAM.
    NotRam,
    /// The frame is free, reserved, or being wiped.
    NotInUse,
    /// It belongs to another domain than the caller thought.
    WrongOwner,
    /// It is of a kind that is never mapped twice.
    NotShareable,
    /// The owner gave it up before.
    NotAllocated,
    /// There is no reference but the owner's to drop.
    NoReference,
    /// There is no room for another reference.
    Saturated,
    /// Others than the owner refer to it.
    StillUsed,
    /// It is a stage-2 table and was not given back as one, or the reverse.
    WrongKind,
    /// It is not a reserved frame.
    NotReserved,
    /// The block is larger than 2^[`MAX_ORDER`] frames, or not aligned to its size.
    BadBlock,
}

/// What became of a frame when a reference was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Release {
    /// That was the last reference: the frame is wiped and free.
    Freed {
        /// The domain that owned it.
        owner: DomId,
    },
    /// Others still refer to it.
    StillUsed,
}

/// A bank of RAM and where its entries begin in the frame table.
struct Bank {
    range: FrameRange,
    entries: usize,
}

/// All RAM of the machine.
pub struct Frames {
    banks: ArrayVec<Bank, MAX_BANKS>,
    table: &'static [AtomicU64],
    buddy: Mutex<Buddy>,
    scrub: &'static dyn Scrub,
    instructions: Instructions,
    /// What goes with these frames: the host's memory that plays the RAM, for example.
    #[cfg(not(target_os = "none"))]
    pub(crate) loan: Option<Box<dyn core::any::Any + Send + Sync>>,
    #[cfg(not(target_os = "none"))]
    exists: reference::Exists,
}

impl Frames {
    #[inline]
    fn entry(&self, mfn: Mfn) -> Result<Entry<'_>, FrameError> {
        let bank = self.banks.iter().find(|bank| bank.range.contains(mfn)).ok_or(FrameError::NotRam)?;
        let within = usize::try_from(mfn.0.saturating_sub(bank.range.first.0)).ok();
        within
            .and_then(|within| self.table.get(bank.entries.checked_add(within)?))
            .map(Entry)
            .ok_or(FrameError::NotRam)
    }

    /// Access to a frame.
    fn page(&self, mfn: Mfn) -> Result<Page, FrameError> {
        self.entry(mfn)?;
        // SAFETY: the frame lies in a bank, which `new`'s caller promised to be RAM that is mapped at its own address.
        // Callers of this function hold a reference to it, or the mapping that does, or have taken it out of the allocator.
        Ok(unsafe { Page::new(mfn) })
    }

    /// Takes 2^order frames, aligned to their number, for `owner`. Each gets one reference, the owner's allocation.
    /// `None` when there is no such block free that was not promised, and for [`Kind::Table`], which [`Self::alloc_table`] is for.
    pub fn alloc(&self, order: u8, owner: DomId, kind: Kind, content: Content) -> Option<Mfn> {
        self.alloc_in(0..u64::MAX, order, owner, kind, content)
    }

    /// As [`Self::alloc`], with all frames in the range `within` of frame numbers.
    pub fn alloc_in(
        &self,
        within: Range<u64>,
        order: u8,
        owner: DomId,
        kind: Kind,
        content: Content,
    ) -> Option<Mfn> {
        if kind == Kind::Table {
            return None;
        }
        self.take(within, order, owner, kind, content)
    }

    fn take(&self, within: Range<u64>, order: u8, owner: DomId, kind: Kind, content: Content) -> Option<Mfn> {
        if order > MAX_ORDER {
            return None;
        }
        #[cfg(not(target_os = "none"))]
        if crate::refusal::is_refused() {
            return None;
        }
        // The lock goes before the frames are wiped: a block of 1 GiB takes long, and all CPUs allocate under it.
        let first = self.buddy.lock().take(order, &within)?;
        self.hand_out(FrameRange { first, pages: 1 << order }, owner, kind, content);
        Some(first)
    }

    /// Gives frames that were just taken from the allocator to their owner.
    fn hand_out(&self, range: FrameRange, owner: DomId, kind: Kind, content: Content) {
        for number in range.first.0..range.end() {
            let mfn = Mfn(number);
            let Ok(entry) = self.entry(mfn) else {
                bug!("a frame of the allocator is not RAM");
                continue;
            };
            // Wiped before the entry names an owner: from then on others may refer to the frame. The entry is simply set,
            // because nobody looks at a frame between the allocator and its owner.
            if entry.is_dirty() {
                match content {
                    Content::Zeroed => self.wipe(mfn),
                    // Its new owner writes over it.
                    Content::Any => self.instructions.note_gone(),
                }
            }
            entry.set(FrameState::Used(Used { owner, kind, allocated: true, references: 1 }));
        }
        // Before anybody can map them.
        if kind.can_be_mapped() {
            self.instructions.forget(self.scrub);
        }
    }

    /// Ends `owner`'s allocation of 2^order frames from `first`. Those without another reference are wiped and free
    /// at once, the others when their last reference goes. Returns how many are free.
    ///
    /// An error stops at the frame that caused it; the frames before it are given up.
    pub fn free(&self, first: Mfn, order: u8, owner: DomId) -> Result<u64, FrameError> {
        if order > MAX_ORDER || !first.0.is_multiple_of(1 << order) {
            return Err(FrameError::BadBlock);
        }
        self.free_range(FrameRange { first, pages: 1 << order }, owner)
    }

    /// As [`Self::free`], for any neighbouring frames. The time it takes is that of wiping them all.
    pub fn free_range(&self, range: FrameRange, owner: DomId) -> Result<u64, FrameError> {
        let mut freed = 0;
        match self.free_counted(range, owner, &mut freed) {
            Ok(()) => Ok(freed),
            Err((error, _)) => Err(error),
        }
    }

    /// As [`Self::free_range`]; adds the number of frames that are free to `freed`, also after an error, which tells how
    /// many were given up before it.
    pub fn free_counted(
        &self,
        range: FrameRange,
        owner: DomId,
        freed: &mut u64,
    ) -> Result<(), (FrameError, u64)> {
        self.free_if(range, owner, freed, |kind| kind != Kind::Table)
    }

    fn free_if(
        &self,
        range: FrameRange,
        owner: DomId,
        freed: &mut u64,
        right_kind: impl Fn(Kind) -> bool,
    ) -> Result<(), (FrameError, u64)> {
        // Frames that follow one another go back to the allocator as one block.
        let mut run = FrameRange { first: range.first, pages: 0 };
        let mut result = Ok(());
        for mfn in (range.first.0..range.end()).map(Mfn) {
            match self.entry(mfn).and_then(|entry| entry.give_up(owner, &right_kind)) {
                Ok(true) => {
                    // Nobody else reaches it: its entry says `Scrubbing`.
                    self.wipe(mfn);
                    if run.pages == 0 {
                        run.first = mfn;
                    }
                    run.pages += 1;
                    *freed += 1;
                }
                Ok(false) => {
                    // This one has another user: the run of free frames ends before it.
                    self.give_back(run);
                    run.pages = 0;
                }
                Err(error) => {
                    result = Err((error, mfn.0 - range.first.0));
                    break;
                }
            }
        }
        self.give_back(run);
        result
    }

    /// Returns wiped frames to the allocator.
    fn give_back(&self, run: FrameRange) {
        // Before the allocator has them: after that another CPU may have taken them, and set their entries.
        self.mark_wiped(run);
        self.buddy.lock().give(run);
    }

    /// Says of frames on their way into the allocator that they are wiped.
    fn mark_wiped(&self, run: FrameRange) {
        for number in run.first.0..run.end() {
            match self.entry(Mfn(number)) {
                Ok(entry) => entry.set(FrameState::Free { dirty: false }),
                Err(_) => bug!("a frame of the allocator is not RAM"),
            }
        }
    }

    /// Wipes a frame that is on its way into or out of the allocator.
    fn wipe(&self, mfn: Mfn) {
        match self.page(mfn) {
            Ok(page) => {
                self.scrub.scrub(page);
                self.instructions.note_gone();
            }
            Err(_) => bug!("a frame of the allocator is not RAM"),
        }
    }

    /// Takes a reference to a frame that `owner` owns. Looking at the owner and taking the reference are one step.
    ///
    /// A frame that the owner has given up and that others still use can get new references, as in Xen: it is the
    /// user of a mapping who asks for them.
    pub fn reference(&self, mfn: Mfn, owner: DomId) -> Result<(), FrameError> {
        self.entry(mfn)?.reference(owner)
    }

    /// Drops a reference that [`Self::reference`] took.
    pub fn release(&self, mfn: Mfn) -> Result<Release, FrameError> {
        // The entry says `Scrubbing` from the moment when the last reference goes: nobody can take a new one while the
        // frame is wiped, and no other CPU wipes it too.
        let Some(owner) = self.entry(mfn)?.release()? else { return Ok(Release::StillUsed) };
        self.wipe(mfn);
        self.give_back(FrameRange { first: mfn, pages: 1 });
        Ok(Release::Freed { owner })
    }

    /// Access to a frame that a mapping keeps in use, with no reference taken for it. `mapping` is where the mapping was
    /// found: it is borrowed meanwhile, so that the mapping cannot go.
    pub fn with_mapped<M, T>(
        &self,
        _mapping: &M,
        mfn: Mfn,
        with: impl FnOnce(Page) -> T,
    ) -> Result<T, FrameError> {
        let entry = self.entry(mfn)?;
        if !entry.is_mappable() {
            return Err(FrameError::NotShareable);
        }
        // SAFETY: the frame is RAM, since it has an entry, and `_mapping` keeps it from being freed until `with` is done.
        Ok(with(unsafe { Page::new(mfn) }))
    }

    /// The state of a frame at this moment; others may change it at once.
    pub fn state(&self, mfn: Mfn) -> Result<FrameState, FrameError> {
        self.entry(mfn).map(Entry::state)
    }

    /// Who owns a frame in use. The answer lasts only while the caller holds a reference.
    pub fn owner_of(&self, mfn: Mfn) -> Result<DomId, FrameError> {
        match self.state(mfn)? {
            FrameState::Used(used) => Ok(used.owner),
            _ => Err(FrameError::NotInUse),
        }
    }

    /// Whether a frame is a page of `owner`'s RAM that it has not given up: not one of its tables, for example, which
    /// are its own too.
    pub fn is_ram_of(&self, mfn: Mfn, owner: DomId) -> bool {
        matches!(self.state(mfn), Ok(FrameState::Used(used))
            if used.owner == owner && used.kind == Kind::Ram && used.allocated)
    }

    /// The highest frame of RAM.
    pub fn last(&self) -> Mfn {
        self.banks.iter().map(|bank| Mfn(bank.range.end().saturating_sub(1))).max().unwrap_or_default()
    }

    /// How many frames the banks have, reserved ones included.
    pub fn total(&self) -> u64 {
        self.banks.iter().map(|bank| bank.range.pages).sum()
    }

    /// How many frames are free, those that are being wiped for whoever gets them next among them.
    pub fn free_frames(&self) -> u64 {
        self.buddy.lock().free_frames()
    }

    /// How many of the free frames were promised.
    pub fn promised_frames(&self) -> u64 {
        self.buddy.lock().promised_frames()
    }

    /// How many of the free frames can be had by anybody: the others were promised.
    pub fn available_frames(&self) -> u64 {
        self.buddy.lock().available_frames()
    }

    /// Promises frames: so many stay free for [`Self::alloc_promised`] and [`Self::spend_promised`], whatever else is
    /// allocated meanwhile. After an error nothing has changed.
    pub fn promise(&self, pages: u64) -> Result<(), Short> {
        self.buddy.lock().promise(pages)
    }

    /// Ends a promise, or what is left of it after some of it was spent. All that was taken of it is back.
    pub fn end_promise(&self, pages: u64) {
        self.buddy.lock().end_promise(pages);
    }

    /// Takes a frame that was promised, for the hypervisor itself. `None`: all that was promised is taken.
    pub fn alloc_promised(&self) -> Option<Mfn> {
        let first = self.buddy.lock().take_promised(false)?;
        self.hand_out(FrameRange { first, pages: 1 }, DomId::XEN, Kind::Hypervisor, Content::Any);
        Some(first)
    }

    /// Takes a frame that was promised, zeroed, for `owner` and for domains to map. The promise is one less: the frame goes
    /// back as others do.
    pub fn spend_promised(&self, owner: DomId) -> Option<Mfn> {
        let first = self.buddy.lock().take_promised(true)?;
        self.hand_out(FrameRange { first, pages: 1 }, owner, Kind::Shared, Content::Zeroed);
        Some(first)
    }

    /// Gives a frame back that [`Self::alloc_promised`] took. It is wiped when somebody else gets it, and not now: a domain
    /// that ends gives back thousands at once.
    pub fn free_promised(&self, mfn: Mfn) {
        let is_own = |used: Used| used.owner == DomId::XEN && used.kind == Kind::Hypervisor;
        match self.entry(mfn) {
            Ok(entry) if matches!(entry.state(), FrameState::Used(used) if is_own(used)) => {
                entry.set(FrameState::Free { dirty: true });
                self.buddy.lock().give_promised(mfn);
            }
            _ => bug!("{mfn} is no frame of the hypervisor"),
        }
    }
}
