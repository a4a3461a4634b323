//! Grants between domains: where the tables' policy meets memory.

use core::sync::atomic::Ordering;

use xenolith_abi::Errno;

use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_memory::frames::{FrameRef, Frames};
use xenolith_memory::p2m::MapKind;
use xenolith_policy::grant::{Domains, GrantTable, Maptrack, Resolved, Resolver, Rights};

use super::DomainRef;
use crate::parts::memory::Memory;
use crate::parts::progress::Progress;

/// Frames that a grant table grows by in one go.
const FRAMES_IN_ONE_GO: u32 = 16;

impl DomainRef<'_> {
    /// Makes the grant table grow by some frames if it has fewer than `frames`, and can have them. Whoever uses a frame makes
    /// it grow too, by as many as it lacks: this is asked before, until it is done, so that there are few.
    pub fn grow_grants(self, frames: u64) -> Progress {
        let mut grants = self.grants.lock();
        let (now, most) = grants.size();
        let Some(wanted) = u32::try_from(frames).ok().filter(|wanted| (now..=most).contains(wanted)) else {
            return Progress::Done;
        };
        let next = wanted.min(now.saturating_add(FRAMES_IN_ONE_GO));
        let grown = grants.grow(next, || self.new_grant_frame());
        if grown.is_err() || next == wanted { Progress::Done } else { Progress::Again }
    }

    /// A new frame for the domain's grant table, of those that it was promised.
    pub fn new_grant_frame(self) -> Option<FrameRef> {
        let mfn = self.hv.frames.spend_promised(self.id)?;
        self.promised.fetch_sub(1, Ordering::Relaxed);
        self.share_frame(mfn)
    }

    /// Maps a frame of the grant table, which grows as far as it may (`XENMAPSPACE_grant_table`). A frame that is mapped
    /// elsewhere moves.
    pub fn map_grant_frame(self, index: u64, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        let mut grants = self.grants.lock();
        // Both locks to the end: where a frame of the table is shown, and where the table says so, change together.
        let page = grants.frame(index, || self.new_grant_frame())?;
        // The new mapping first: if it fails, the frame stays where it was.
        let old = grants.gfn_of(index).filter(|&old| old != gfn);
        memory.map_referenced(self, gfn, page.mfn(), self.id, MapKind::Shared)?;
        if let Some(old) = old {
            // It may have gone by other ways since.
            let _ = memory.unmap_referenced(self, old, page.mfn());
        }
        // Another frame of the table may have been there until now.
        grants.forget_gfn(gfn);
        grants.set_gfn(index, gfn);
        Ok(())
    }
}

impl Memory {
    /// A reference to a frame of the domain's own RAM that it may use with these rights.
    fn own_ram(&self, frames: &Frames, owner: DomId, gfn: Gfn, rights: Rights) -> Option<(FrameRef, bool)> {
        let entry = self.p2m.lookup(gfn).ok()?;
        let writable = entry.kind.writable();
        if !entry.kind.is_ram() || rights == Rights::ReadWrite && !writable {
            return None;
        }
        Some((frames.get_frame(entry.mfn, owner).ok()?, writable))
    }
}

/// The domains as one of them sees them when it uses grants.
impl Domains for DomainRef<'_> {
    type Frame = FrameRef;

    fn caller(&self) -> DomId {
        self.id
    }

    fn exists(&self, domain: DomId) -> bool {
        self.hv.domain(domain).is_some()
    }

    /// Whom a grant names is the granter's own decision, so that driver domains need no more than that.
    fn permits(&self, _granter: DomId) -> bool {
        true
    }

    fn with_table<R>(
        &self,
        domain: DomId,
        work: impl FnOnce(&mut GrantTable<FrameRef>, &mut Resolver<'_, FrameRef>) -> R,
    ) -> Option<R> {
        let domain = self.hv.domain(domain)?;
        // In the order of locks, and both: an entry is turned into a frame by the p2m of the same moment, so that a
        // page which the granter gives back is lent before or not at all.
        let memory = domain.memory.lock();
        let mut resolve = |gfn: Gfn, rights: Rights| {
            let (frame, writable) = memory.own_ram(&self.hv.frames, domain.id, gfn, rights)?;
            Some(Resolved { frame, writable })
        };
        let mut grants = domain.grants.lock();
        Some(work(&mut grants, &mut resolve))
    }

    fn with_maptrack<R>(&self, work: impl FnOnce(&mut Maptrack) -> R) -> R {
        work(&mut self.maptrack.lock())
    }

    fn own_frame(&self, gfn: Gfn, rights: Rights) -> Option<FrameRef> {
        let memory = self.memory.lock();
        memory.own_ram(&self.hv.frames, self.id, gfn, rights).map(|(frame, _)| frame)
    }

    fn map(&self, gfn: Gfn, mfn: Mfn, granter: DomId, rights: Rights) -> Result<(), Errno> {
        let kind = match rights {
            Rights::ReadOnly => MapKind::GrantReadOnly,
            Rights::ReadWrite => MapKind::Grant,
        };
        self.memory.lock().map_referenced(*self, gfn, mfn, granter, kind)?;
        // A frame of our own grant table may have been shown there.
        self.grants.lock().forget_gfn(gfn);
        Ok(())
    }

    fn unmap(&self, gfn: Gfn, mfn: Mfn) {
        // Something else may be mapped there by now: then the mapping went, with its reference, when that came.
        let _ = self.memory.lock().unmap_referenced(*self, gfn, mfn);
    }

    fn let_go(&self, frame: FrameRef) {
        self.hv.put_frame(frame);
    }
}
