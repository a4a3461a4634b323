//! Grants between domains: where the tables' policy meets memory.

use alloc::sync::Arc;

use xenolith_abi::Errno;

use crate::hypervisor::Hypervisor;
use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_memory::frames::{FrameRef, Frames};
use xenolith_memory::p2m::MapKind;
use xenolith_policy::grant::{Domains, GrantTable, Maptrack, Resolved, Resolver, Rights};

use super::Domain;
use crate::parts::memory::Memory;

impl Domain {
    /// A new frame for the domain's grant table.
    pub fn new_grant_frame(&self, hv: &Hypervisor) -> Option<FrameRef> {
        hv.new_shared_frame(self)
    }

    /// Maps a frame of the grant table, which grows as far as it may (`XENMAPSPACE_grant_table`). A frame that is mapped
    /// elsewhere moves.
    pub fn map_grant_frame(&self, hv: &Hypervisor, index: u64, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        let mut grants = self.grants.lock();
        let page = grants.frame(index, || self.new_grant_frame(hv))?;
        let old = grants.gfn_of(index).filter(|&old| old != gfn);
        memory.map_referenced(hv, self, gfn, page.mfn(), self.id, MapKind::Shared)?;
        if let Some(old) = old {
            // It may have gone by other ways since.
            let _ = memory.unmap_referenced(hv, self, old, page.mfn());
        }
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
pub struct GrantContext<'a> {
    /// The hypervisor.
    pub hv: &'a Hypervisor,
    /// Who calls.
    pub caller: &'a Domain,
}

impl GrantContext<'_> {
    fn domain(&self, id: DomId) -> Option<Arc<Domain>> {
        self.hv.domain(id)
    }
}

impl Domains for GrantContext<'_> {
    type Frame = FrameRef;

    fn caller(&self) -> DomId {
        self.caller.id
    }

    fn exists(&self, domain: DomId) -> bool {
        self.domain(domain).is_some()
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
        let domain = self.domain(domain)?;
        let memory = domain.memory.lock();
        let mut resolve = |gfn: Gfn, rights: Rights| {
            let (frame, writable) = memory.own_ram(&self.hv.frames, domain.id, gfn, rights)?;
            Some(Resolved { frame, writable })
        };
        let mut grants = domain.grants.lock();
        Some(work(&mut grants, &mut resolve))
    }

    fn with_maptrack<R>(&self, work: impl FnOnce(&mut Maptrack) -> R) -> R {
        work(&mut self.caller.maptrack.lock())
    }

    fn own_frame(&self, gfn: Gfn, rights: Rights) -> Option<FrameRef> {
        let memory = self.caller.memory.lock();
        memory.own_ram(&self.hv.frames, self.caller.id, gfn, rights).map(|(frame, _)| frame)
    }

    fn map(&self, gfn: Gfn, mfn: Mfn, granter: DomId, rights: Rights) -> Result<(), Errno> {
        let kind = match rights {
            Rights::ReadOnly => MapKind::GrantReadOnly,
            Rights::ReadWrite => MapKind::Grant,
        };
        self.caller.memory.lock().map_referenced(self.hv, self.caller, gfn, mfn, granter, kind)?;
        self.caller.grants.lock().forget_gfn(gfn);
        Ok(())
    }

    fn unmap(&self, gfn: Gfn, mfn: Mfn) {
        // Something else may be mapped there by now: then the mapping went, with its reference, when that came.
        let _ = self.caller.memory.lock().unmap_referenced(self.hv, self.caller, gfn, mfn);
    }

    fn let_go(&self, frame: FrameRef) {
        self.hv.put_frame(frame);
    }
}
