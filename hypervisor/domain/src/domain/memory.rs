//! A domain's guest physical memory: what is mapped where, reading and writing it, and giving pages back.

use xenolith_abi::Errno;

use crate::arch::HardwareTlb;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn, Ipa, Mfn, PAGE_SIZE};
use xenolith_memory::frames::{Content, FrameRange, FrameRef, Kind};
use xenolith_memory::p2m::{Entry, MapKind, P2m, P2mAccess, P2mError, Run};
use xenolith_memory::stale::StalePages;
use xenolith_memory::table::TableList;

use super::{Domain, DomainRef};
use crate::parts::memory::{Memory, frame_error, holds_reference};
use crate::parts::progress::Progress;

/// Tables that the pool gets at a time when it may grow by itself: more than any single page needs.
const MORE_TABLES: u64 = 8;

/// Pages that [`DomainRef::make_room`] takes away at a time.
const ROOM: u64 = 16;

impl Memory {
    /// Takes the mapping at a frame away, if there is one, and drops the reference that it held.
    fn clear(&mut self, domain: DomainRef<'_>, gfn: Gfn) -> Result<Option<Run>, Errno> {
        let removed = self.with_tables(domain, |p2m| p2m.remove(gfn))?;
        if let Some(run) = removed {
            self.let_go(domain, run);
        }
        Ok(removed)
    }

    /// The same with many frames, whose number is a power of two and the first of which is a multiple of it: all, or none.
    fn clear_block(&mut self, domain: DomainRef<'_>, gfn: Gfn, pages: u64) -> Result<(), Errno> {
        let mut done = 0;
        while done < pages {
            let from = Gfn(gfn.0.saturating_add(done));
            // What it may lack is a table for a larger block that has to be split, and it lacks that at first or never.
            let (runs, more) = self.with_tables(domain, |p2m| p2m.unmap(from, pages - done))?;
            runs.into_iter().for_each(|run| self.let_go(domain, run));
            done = done.saturating_add(more);
        }
        Ok(())
    }

    /// Lets go of what was mapped, and of which no TLB knows any more.
    fn let_go(&mut self, domain: DomainRef<'_>, run: Run) {
        // Nobody reaches the frames by these entries any more, so the references may go. One may be the last one of a dead
        // domain, whose end takes locks that come after this one.
        if holds_reference(run.kind) {
            for mfn in run.mfn.0..run.mfn.0.saturating_add(run.pages) {
                domain.hv.release_frame(Mfn(mfn));
            }
        }
        if run.kind.is_ram() {
            // Device models have them mapped for themselves, and drop that before the call that took them away returns.
            domain.mark_mapcache_stale(StalePages::run(run.gfn, run.pages));
        }
        // The page can be mapped at one frame at a time (`XENMAPSPACE_shared_info`); now it can be mapped elsewhere.
        let gfns = run.gfn.0..run.gfn.0.saturating_add(run.pages);
        if self.shared_info_gfn.is_some_and(|gfn| gfns.contains(&gfn.0)) {
            self.shared_info_gfn = None;
        }
    }

    /// Maps a frame that somebody owns at `gfn`, in place of what is there. The mapping holds a reference.
    pub fn map_referenced(
        &mut self,
        domain: DomainRef<'_>,
        gfn: Gfn,
        mfn: Mfn,
        owner: DomId,
        kind: MapKind,
    ) -> Result<(), Errno> {
        domain.hv.frames.reference(mfn, owner).map_err(frame_error)?;
        self.map_held(domain, gfn, mfn, kind)
    }

    /// As [`Self::map_referenced`], with a reference that the caller has taken for it. After an error it is dropped.
    pub fn map_held(
        &mut self,
        domain: DomainRef<'_>,
        gfn: Gfn,
        mfn: Mfn,
        kind: MapKind,
    ) -> Result<(), Errno> {
        // Asked under the lock under which a dying domain is closed: its teardown finds what was mapped before, and
        // nothing is mapped after.
        let mapped = self.require_open().and_then(|()| {
            self.clear(domain, gfn)?;
            Ok(self.with_tables(domain, |p2m| p2m.map(gfn, mfn, 1, kind))?)
        });
        if mapped.is_err() {
            domain.hv.release_frame(mfn);
        }
        mapped
    }

    /// Takes away a mapping of `mfn` that holds a reference; nothing happens when something else is mapped there by now.
    pub fn unmap_referenced(&mut self, domain: DomainRef<'_>, gfn: Gfn, mfn: Mfn) -> Result<(), Errno> {
        match self.p2m.lookup(gfn) {
            Ok(entry) if entry.mfn == mfn && holds_reference(entry.kind) => {
                self.clear(domain, gfn).map(|_| ())
            }
            Ok(_) | Err(P2mError::NotMapped) => Err(Errno::ENOENT),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a page or a block of the tables; when the pool is used up and may grow, it does, once.
    fn with_tables<T>(
        &mut self,
        domain: DomainRef<'_>,
        mut change: impl FnMut(&mut P2m<TableList, HardwareTlb>) -> Result<T, P2mError>,
    ) -> Result<T, P2mError> {
        // A change that finds too few tables has changed nothing, so it can be made again.
        let result = change(&mut self.p2m);
        if !matches!(result, Err(P2mError::NoTables)) || self.pool_pages() >= self.pool_limit {
            return result;
        }
        for _ in 0..MORE_TABLES {
            let table = domain.hv.frames.alloc_table(domain.id).ok_or(P2mError::NoTables)?;
            self.p2m.pool_mut().push(table);
        }
        change(&mut self.p2m)
    }
}

impl Domain {
    /// Whether the guest may access a frame now.
    pub fn is_mapped(&self, gfn: Gfn, write: bool) -> bool {
        let access = if write { P2mAccess::Write } else { P2mAccess::Read };
        self.memory.lock().p2m.lookup_for(gfn, access).is_ok()
    }

    /// What is mapped at a frame of the domain's RAM or shared pages.
    pub fn lookup(&self, gfn: Gfn) -> Result<Entry, Errno> {
        Ok(self.memory.lock().p2m.lookup(gfn)?)
    }
}

impl DomainRef<'_> {
    /// Looks a frame up, and keeps it mapped, and so from being freed, while `with` uses it.
    pub(crate) fn with_page<T>(
        self,
        gfn: Gfn,
        access: P2mAccess,
        with: impl FnOnce(xenolith_memory::page::Page) -> T,
    ) -> Result<T, Errno> {
        let memory = self.memory.lock();
        let entry = memory.p2m.lookup_for(gfn, access).map_err(|_| Errno::EFAULT)?;
        // A guest may name its device's registers as a buffer, and our access would have effects there.
        if entry.kind.is_device() {
            return Err(Errno::EFAULT);
        }
        self.hv.frames.with_mapped(&memory.p2m, entry.mfn, with).map_err(|_| Errno::EFAULT)
    }

    /// Copies bytes out of guest memory. They lie in one page.
    pub fn read_memory(self, from: Ipa, into: &mut [u8]) -> Result<(), Errno> {
        let copied = self.with_page(from.frame(), P2mAccess::Read, |page| page.read(from.offset(), into))?;
        if copied { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies bytes into guest memory. They lie in one page.
    pub fn write_memory(self, to: Ipa, from: &[u8]) -> Result<(), Errno> {
        let copied = self.with_page(to.frame(), P2mAccess::Write, |page| page.write(to.offset(), from))?;
        if copied { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies bytes into guest memory, page by page, and past the caches: for a guest that starts with them off.
    pub fn load_memory(self, to: Ipa, from: &[u8]) -> Result<(), Errno> {
        let mut to = to;
        let mut rest = from;
        while !rest.is_empty() {
            let room = PAGE_SIZE as usize - to.offset();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.with_page(to.frame(), P2mAccess::Write, |page| {
                let copied = page.write(to.offset(), now);
                xenolith_hw::clean_to_memory(page.mfn().base().0, PAGE_SIZE);
                copied
            })?;
            to = Ipa(to.0.checked_add(now.len() as u64).ok_or(Errno::EFAULT)?);
            rest = later;
        }
        Ok(())
    }

    /// Holds a frame of the domain's own RAM that hypervisor and guest are going to share.
    pub fn get_frame(self, gfn: Gfn) -> Result<FrameRef, Errno> {
        self.with_frame_ref(gfn, |frame| frame)
    }

    /// The same, and puts it in its place before the domain's end can begin to look there. Errors: those of
    /// [`Self::get_frame`].
    pub fn with_frame_ref<T>(self, gfn: Gfn, put: impl FnOnce(FrameRef) -> T) -> Result<T, Errno> {
        let memory = self.memory.lock();
        memory.require_open()?;
        let entry = memory.p2m.lookup_for(gfn, P2mAccess::Write).map_err(|_| Errno::EINVAL)?;
        // Neither a page of another domain nor one that is read-only to this one: the hypervisor is going to write
        // there.
        if entry.kind != MapKind::Ram {
            return Err(Errno::EINVAL);
        }
        Ok(put(self.hv.frames.get_frame(entry.mfn, self.id).map_err(frame_error)?))
    }

    /// Gives one page back (`XENMEM_decrease_reservation`). A direct-mapped domain keeps the frame, so that the same
    /// one comes back: devices may know it.
    pub fn give_page_back(self, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        let entry = memory.p2m.lookup(gfn)?;
        if !entry.kind.is_ram() {
            return Err(Errno::EINVAL);
        }
        memory.clear(self, gfn)?;
        // The mapping is gone and flushed by now: a frame that is free has nobody who reaches it.
        if !self.direct_mapped {
            self.give_up(FrameRange { first: entry.mfn, pages: 1 }).map_err(frame_error)?;
            memory.pages = memory.pages.saturating_sub(1);
        }
        Ok(())
    }

    /// Puts 2^order pages at `gfn` (`XENMEM_populate_physmap`) in place of what is there: fresh ones, or for a
    /// direct-mapped domain those of the same number, which it must own. RAM that was there stays the domain's own.
    pub fn populate(self, gfn: Gfn, order: u8) -> Result<(), Errno> {
        let pages = 1_u64.checked_shl(order.into()).ok_or(Errno::EINVAL)?;
        if !gfn.0.is_multiple_of(pages) {
            return Err(Errno::EINVAL);
        }
        let mut memory = self.memory.lock();
        memory.require_open()?;
        if self.direct_mapped {
            let end = gfn.0.checked_add(pages).ok_or(Errno::EINVAL)?;
            // It kept them when it gave the pages back, and gets no others.
            if !(gfn.0..end).all(|mfn| self.hv.frames.is_ram_of(Mfn(mfn), self.id)) {
                return Err(Errno::EINVAL);
            }
            return self.map_ram(&mut memory, gfn, Mfn(gfn.0), pages);
        }
        let owned = memory.pages.checked_add(pages).ok_or(Errno::ENOMEM)?;
        if owned > memory.max_pages {
            return Err(Errno::ENOMEM);
        }
        let mfn = self.hv.frames.alloc(order, self.id, Kind::Ram, Content::Zeroed).ok_or(Errno::ENOMEM)?;
        if let Err(errno) = self.map_ram(&mut memory, gfn, mfn, pages) {
            if self.hv.frames.free(mfn, order, self.id).is_err() {
                bug!("{}: {mfn} was allocated, and cannot be freed", self.id);
            }
            return Err(errno);
        }
        memory.pages = owned;
        Ok(())
    }

    /// Prepares for [`Self::populate`], which takes long where it replaces mappings whose frames nobody else has any more: takes
    /// away some of the extent's mappings that hold a reference. [`Progress::Again`]: there may be more. `EINVAL`, `ENOMEM`:
    /// populating is going to be refused, so nothing happens.
    pub fn make_room(self, gfn: Gfn, order: u8) -> Result<Progress, Errno> {
        let pages = 1_u64.checked_shl(order.into()).filter(|&pages| gfn.0.is_multiple_of(pages));
        let pages = pages.ok_or(Errno::EINVAL)?;
        let mut memory = self.memory.lock();
        memory.require_open()?;
        if memory.pages.checked_add(pages).is_none_or(|owned| owned > memory.max_pages) {
            return Err(Errno::ENOMEM);
        }
        let (mut from, end) = (gfn.0, gfn.0.saturating_add(pages));
        while from < end {
            let (runs, reached) = memory.p2m.scan(Gfn(from), end - from)?;
            if let Some(run) = runs.iter().find(|run| holds_reference(run.kind)) {
                for gfn in run.gfn.0..run.gfn.0.saturating_add(run.pages.min(ROOM)) {
                    memory.clear(self, Gfn(gfn))?;
                }
                return Ok(Progress::Again);
            }
            from = from.saturating_add(reached.max(1));
        }
        Ok(Progress::Done)
    }

    /// Maps RAM of the domain in place of what is there. The tables of what goes are there for what comes, so that no
    /// error leaves a hole.
    fn map_ram(self, memory: &mut Memory, gfn: Gfn, mfn: Mfn, pages: u64) -> Result<(), Errno> {
        let mut map = |p2m: &mut P2m<_, _>| p2m.map(gfn, mfn, pages, MapKind::Ram);
        match memory.with_tables(self, &mut map) {
            Err(P2mError::Occupied) => {}
            done => return Ok(done?),
        }
        memory.clear_block(self, gfn, pages)?;
        // Frames of the grant table that were shown here are shown nowhere now.
        self.grants.lock().forget_gfns(gfn, pages);
        Ok(memory.with_tables(self, map)?)
    }

    /// Takes away what the domain has mapped at a frame (`XENMEM_remove_from_physmap`). Its RAM stays its own; a grant
    /// goes only by its handle.
    pub fn remove_mapping(self, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        match memory.p2m.lookup(gfn) {
            Err(P2mError::NotMapped) => return Err(Errno::ENOENT),
            Err(error) => return Err(error.into()),
            Ok(entry) if matches!(entry.kind, MapKind::Grant | MapKind::GrantReadOnly) => {
                return Err(Errno::EINVAL);
            }
            Ok(_) => (),
        }
        memory.clear(self, gfn)?;
        self.grants.lock().forget_gfn(gfn);
        Ok(())
    }
}
