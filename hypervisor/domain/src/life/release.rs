//! Letting go of frames: the one way by which references end, so that the end of a destroyed domain is noticed.
//!
//! A domain counts the frames that it has given up and others still refer to. When it is dead and the last of them goes,
//! the domain goes. The count is right as soon as both sides of a release are done, and nobody asks before the domain is
//! dead and has given up everything.

use core::sync::atomic::Ordering;

use crate::hypervisor::Hypervisor;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Mfn};
use xenolith_memory::frames::{FrameError, FrameRange, FrameRef, Kind, Release};
use xenolith_memory::table::{RootPages, TablePage};

use crate::domain::DomainRef;

impl Hypervisor {
    /// Drops a reference to a frame, whoever owns it. It may be the last one of a domain that is dead: then that domain
    /// is gone, and the control domain hears of it; so the caller may hold no lock from event channels inwards.
    pub fn release_frame(&self, mfn: Mfn) {
        if let Ok(Release::Freed { owner, kind }) = self.frames.release(mfn) {
            self.frame_gone(owner, kind);
        }
    }

    /// Drops the reference of a frame, as [`Self::release_frame`] does.
    pub fn put_frame(&self, frame: FrameRef) {
        self.release_frame(frame.into_page().mfn());
    }

    /// Frees a frame of a domain's tables that no table links any more.
    pub(crate) fn free_table(&self, table: TablePage, owner: DomId) {
        if self.frames.free_table(table, owner).is_err() {
            bug!("a table of {owner} is not its own");
        }
    }

    /// Frees the root of a domain's tables, which maps nothing any more.
    pub(crate) fn free_root(&self, root: RootPages, owner: DomId) {
        if self.frames.free_root(root, owner).is_err() {
            bug!("the root of {owner} is not its own");
        }
    }

    /// The last reference to a frame has gone that its owner had given up before.
    fn frame_gone(&self, owner: DomId, kind: Kind) {
        let Some(domain) = self.domain(owner) else { return };
        if kind == Kind::Promised {
            domain.io.frame_gone();
        }
        // The owner adds it after it has given the frame up, which may be later than this: the sum is right when both
        // are done.
        domain.lingering.fetch_sub(1, Ordering::SeqCst);
        domain.on(self).forget_if_over();
    }
}

impl DomainRef<'_> {
    /// Ends the allocation of frames of its own. Those that others refer to stay until they let go. Returns how many are
    /// free.
    pub fn give_up(self, range: FrameRange) -> Result<u64, FrameError> {
        let mut freed = 0;
        let result = self.hv.frames.free_counted(range, self.id, &mut freed);
        let done = match result {
            Ok(()) => range.pages,
            Err((_, done)) => done,
        };
        let lingering = i64::try_from(done.saturating_sub(freed)).unwrap_or(i64::MAX);
        // Also after an error: what was given up before it is counted.
        self.lingering.fetch_add(lingering, Ordering::SeqCst);
        result.map(|()| freed).map_err(|(error, _)| error)
    }

    /// The reference by which alone a frame is held that was just allocated for the domain and is to be shared.
    pub(crate) fn share_frame(self, mfn: Mfn) -> Option<FrameRef> {
        // The allocation's own reference goes at once: with the one that is returned the frame goes, whoever has it
        // last.
        let frame = self.hv.frames.get_frame(mfn, self.id).ok();
        if frame.is_none() || self.give_up(FrameRange { first: mfn, pages: 1 }).is_err() {
            bug!("{}: {mfn} was allocated, and is not its own", self.id);
        }
        frame
    }
}
