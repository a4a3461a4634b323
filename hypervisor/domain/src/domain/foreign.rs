//! Frames of one domain in the memory of another: mapped by privilege, without the owner's doing.
//!
//! A mapping holds a reference on the owner's frame from the look-up on: both happen under the lock of the owner's memory,
//! so that the frame that was found is the frame that is mapped, whatever the owner does at that moment (Xen's advisory
//! 473). Nothing is ever mapped on from such a mapping.
//!
//! Whether the domain may have it is asked under the lock of its own memory, where it gets it: a permission that is taken
//! back is gone before that memory is searched for what stood on it.

use xenolith_abi::Errno;

use xenolith_arch as arch;
use xenolith_core::types::{Gfn, Mfn};
use xenolith_memory::p2m::MapKind;
use xenolith_memory::stale::StalePages;

use super::{Domain, DomainRef};
use crate::parts::memory::frame_error;

impl DomainRef<'_> {
    /// Takes a reference to a page of the domain's RAM, for another domain to map. `EINVAL`: there is no RAM of its own at
    /// the frame. `ESRCH`: it is dying. `ENOMEM`: too many references.
    fn lend_page(self, gfn: Gfn) -> Result<(Mfn, MapKind), Errno> {
        let memory = self.memory.lock();
        memory.require_open().map_err(|_| Errno::ESRCH)?;
        // Only what the owner owns: a frame that it maps of somebody else may not be mapped on.
        let entry = memory.p2m.lookup(gfn).map_err(|_| Errno::EINVAL)?;
        let kind = match entry.kind {
            MapKind::Ram => MapKind::Foreign,
            MapKind::RamReadOnly => MapKind::ForeignReadOnly,
            _ => return Err(Errno::EINVAL),
        };
        self.hv.frames.reference(entry.mfn, self.id).map_err(frame_error)?;
        Ok((entry.mfn, kind))
    }

    /// Maps the page that `owner` has at `from` at the domain's own `gfn`, in place of what is there
    /// (`XENMAPSPACE_gmfn_foreign`): never executable, writable if it is for its owner.
    ///
    /// `EINVAL`: no RAM there, or `gfn` is beyond the limit. `ESRCH`: the owner is dying, or is the domain itself.
    /// `EPERM`: the domain is not the owner's device model. `ENOMEM`: no table.
    pub fn map_foreign(self, owner: &Domain, from: Gfn, gfn: Gfn) -> Result<(), Errno> {
        if owner.id == self.id {
            return Err(Errno::ESRCH);
        }
        // The owner's memory is free again before ours is taken: two domains that map each other's pages do not wait
        // for each other. What keeps the frame meanwhile is the reference.
        let (mfn, kind) = owner.on(self.hv).lend_page(from)?;
        self.map_lent(owner, mfn, kind, gfn)
    }

    /// Maps a frame of `owner`, with the reference that the caller has taken. Errors: those of [`Self::map_foreign`].
    fn map_lent(self, owner: &Domain, mfn: Mfn, kind: MapKind, gfn: Gfn) -> Result<(), Errno> {
        {
            let mut memory = self.memory.lock();
            if !owner.has_device_model(self.domain) {
                self.hv.release_frame(mfn);
                return Err(Errno::EPERM);
            }
            // It drops the reference when it fails.
            memory.map_held(self, gfn, mfn, kind)?;
        }
        self.grants.lock().forget_gfn(gfn);
        Ok(())
    }

    /// Maps a frame of `owner`'s grant table, which grows as far as it may, at the domain's own `gfn`
    /// (`XENMEM_resource_grant_table`).
    ///
    /// `EINVAL`: the owner's table cannot be so large, or `gfn` is beyond the limit. `ESRCH`: the owner is dying.
    /// `EPERM`: the domain is not the owner's device model. `ENOMEM`: no memory.
    pub fn map_grant_resource(self, owner: &Domain, index: u64, gfn: Gfn) -> Result<(), Errno> {
        if owner.is_dying() {
            return Err(Errno::ESRCH);
        }
        let mfn = {
            // The table keeps its frame while it is locked.
            let mut grants = owner.grants.lock();
            let page = grants.frame(index, || owner.on(self.hv).new_grant_frame())?;
            self.hv.frames.reference(page.mfn(), owner.id).map_err(frame_error)?;
            page.mfn()
        };
        self.map_lent(owner, mfn, MapKind::Shared, gfn)
    }

    /// Maps a frame of an ioreq server that the domain has at `owner` (`XENMEM_resource_ioreq_server`).
    ///
    /// `ENOENT`: no such server, or no such frame of it. `EPERM`: another domain's server, or the domain is
    /// not the owner's device model. `EINVAL`: no such frame, or `gfn` is beyond the limit. `ENOMEM`: no memory.
    #[cfg(feature = "ioreq")]
    pub fn map_server_frame(
        self,
        owner: &Domain,
        server: xenolith_policy::ioreq::ServerId,
        index: u64,
        gfn: Gfn,
    ) -> Result<(), Errno> {
        let mfn = owner.on(self.hv).lend_server_frame(server, self.id, index)?;
        self.map_lent(owner, mfn, MapKind::Shared, gfn)
    }

    /// Takes away what a failed call has mapped at a frame.
    pub fn unmap_resource(self, gfn: Gfn) {
        if let Ok(entry) = self.lookup(gfn)
            && matches!(entry.kind, MapKind::Shared | MapKind::SharedReadOnly)
        {
            // It may be something else by now: then it stays.
            let _ = self.memory.lock().unmap_referenced(self, gfn, entry.mfn);
        }
    }

    /// Sets the mapcache-invalidate flag: these pages of RAM were ballooned away, removed or replaced. It is set on the vCPU that
    /// runs on the calling CPU, which then waits until every ioreq server has dropped its mappings; when another domain
    /// did it, it is set on all vCPUs of this one.
    pub(crate) fn mark_mapcache_stale(self, pages: StalePages) {
        let here = Some(arch::this_cpu());
        match self.vcpus.iter().find(|vcpu| self.hv.scheduler.running_on(vcpu.unit) == here) {
            Some(vcpu) => vcpu.mark_mapcache_stale(pages),
            None => self.vcpus.iter().for_each(|vcpu| vcpu.mark_mapcache_stale(pages)),
        }
    }
}
