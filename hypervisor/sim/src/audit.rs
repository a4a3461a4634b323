//! The books: what the frame table says of each frame against what the domains map and the hypervisor holds.

use std::collections::BTreeMap;

use xenolith_memory::arc::Arc;

use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_domain::domain::Domain;
use xenolith_domain::domain::device_model::is_others;
use xenolith_domain::parts::memory::holds_reference;
use xenolith_domain::parts::runstate::RunstateArea;
use xenolith_memory::frames::{FrameState, Kind};
use xenolith_memory::p2m::MapKind;

use super::{Breach, Machine};

/// Where the books do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imbalance {
    /// The frame table contradicts the allocator.
    Table(Mfn),
    /// A domain can reach a frame as something that the frame is not.
    Foreign(DomId, Gfn, Mfn),
    /// A frame has fewer references than mappings.
    Unreferenced(Mfn),
    /// A domain's frames have another number of references than there are mappings and holds of them: found, expected.
    Leak(DomId, u64, u64),
    /// A domain is not charged for the RAM that it has: has, charged.
    Charge(DomId, u64, u64),
    /// A frame belongs to a domain that there is not.
    Orphan(Mfn, DomId),
    /// A domain has another number of tables than its pool and its root make: has, should have.
    Tables(DomId, u64, u64),
    /// A domain counts another number of frames that it has given up and others still use: has, counts.
    Lingering(DomId, u64, i64),
    /// More or fewer VMIDs are in use than domains have tables: in use, needed.
    Vmids(u64, u64),
    /// A domain that is dead still has something of its own.
    Undead(DomId),
    /// A domain has memory or an ioreq server of another one whose device model it may not be: who, whose.
    Forbidden(DomId, DomId),
    /// The tables are not what the specification of stage 2 says.
    Stage2(Breach),
}

impl Machine {
    /// Compares all books. What is in use elsewhere at the same time would look like an error, so nothing may be.
    ///
    /// # Errors
    /// The first [`Imbalance`].
    pub fn audit(&self) -> Result<(), Imbalance> {
        self.hv.frames.audit(DomId::XEN).map_err(|wrong| Imbalance::Table(wrong.0))?;
        let domains: Vec<_> = self.hv.domains().collect();
        let mut mapped: BTreeMap<u64, u64> = BTreeMap::new();
        for domain in &domains {
            self.count_mappings(domain, &mut mapped)?;
        }
        for mfn in domains.iter().flat_map(|domain| domain.unmapped_references()) {
            *mapped.entry(mfn.0).or_default() += 1;
        }
        for domain in &domains {
            self.balance(domain, &mapped)?;
        }
        self.check_owners(&domains)?;
        check_servers(&domains)?;
        self.check_stage2().map_err(Imbalance::Stage2)?;
        let vmids = self.hv.vmids.lock().in_use().into();
        let needed = domains.iter().filter(|domain| domain.memory.lock().p2m.root_pages() > 0).count() as u64;
        if vmids == needed { Ok(()) } else { Err(Imbalance::Vmids(vmids, needed)) }
    }

    /// Every frame in use is the hypervisor's, or that of a domain on the list.
    fn check_owners(&self, domains: &[Arc<Domain>]) -> Result<(), Imbalance> {
        for mfn in self.all_frames() {
            let Ok(FrameState::Used(used)) = self.hv.frames.state(mfn) else { continue };
            if ![DomId::XEN, DomId::IO].contains(&used.owner)
                && !domains.iter().any(|domain| domain.id == used.owner)
            {
                return Err(Imbalance::Orphan(mfn, used.owner));
            }
        }
        Ok(())
    }

    /// Whether a domain may have this frame mapped as this kind.
    fn may_map(&self, domain: DomId, mfn: Mfn, kind: MapKind) -> bool {
        let used = match self.hv.frames.state(mfn) {
            Ok(FrameState::Used(used)) => used,
            _ => return kind.is_device(),
        };
        match kind {
            MapKind::Ram | MapKind::RamReadOnly => self.hv.frames.is_ram_of(mfn, domain),
            MapKind::Foreign | MapKind::ForeignReadOnly | MapKind::StaticShm => {
                used.kind == Kind::Ram && used.owner != domain
            }
            MapKind::Grant | MapKind::GrantReadOnly => used.kind == Kind::Ram,
            MapKind::Shared | MapKind::SharedReadOnly => matches!(used.kind, Kind::Shared | Kind::Promised),
            MapKind::Device | MapKind::StrictDevice => false,
        }
    }

    /// Whether a domain may have another's memory without a grant. One that is dying has it until it is let go.
    fn check_permission(&self, domain: &Domain, mfn: Mfn) -> Result<(), Imbalance> {
        let owner = self.hv.frames.owner_of(mfn).ok().and_then(|owner| self.hv.domain(owner));
        let Some(owner) = owner.filter(|owner| owner.id != domain.id) else { return Ok(()) };
        let may = domain.is_dying() || owner.has_device_model(domain);
        if may { Ok(()) } else { Err(Imbalance::Forbidden(domain.id, owner.id)) }
    }

    fn count_mappings(&self, domain: &Domain, mapped: &mut BTreeMap<u64, u64>) -> Result<(), Imbalance> {
        let memory = domain.memory.lock();
        let (ram, end) = (self.ram(), memory.p2m.geometry().end().0);
        let mut from = 0;
        while from < end {
            let Ok((runs, reached)) = memory.p2m.scan(Gfn(from), end - from) else { break };
            for run in &runs {
                let (mut start, mut end) = (run.mfn.0, run.mfn.0 + run.pages);
                if run.kind.is_device() {
                    // Devices have far more addresses than there is RAM, and only those of RAM can be wrong.
                    (start, end) = (start.max(ram.start), end.min(ram.end));
                }
                for mfn in (start..end).map(Mfn) {
                    let gfn = Gfn(run.gfn.0 + (mfn.0 - run.mfn.0));
                    if !self.may_map(domain.id, mfn, run.kind) {
                        return Err(Imbalance::Foreign(domain.id, gfn, mfn));
                    }
                    if is_others(run.kind) {
                        self.check_permission(domain, mfn)?;
                    }
                    if holds_reference(run.kind) {
                        *mapped.entry(mfn.0).or_default() += 1;
                    }
                }
            }
            from += reached.max(1);
        }
        Ok(())
    }

    fn balance(&self, domain: &Domain, mapped: &BTreeMap<u64, u64>) -> Result<(), Imbalance> {
        let (mut found, mut expected, mut pages, mut tables, mut lingering) = (0, 0, 0, 0, 0);
        for mfn in self.all_frames() {
            let Ok(FrameState::Used(used)) = self.hv.frames.state(mfn) else { continue };
            if used.owner != domain.id {
                continue;
            }
            let references = u64::from(used.references);
            let own = u64::from(used.allocated) + mapped.get(&mfn.0).copied().unwrap_or(0);
            if references < own {
                return Err(Imbalance::Unreferenced(mfn));
            }
            found += references;
            expected += own;
            pages += u64::from(used.kind == Kind::Ram && used.allocated);
            tables += u64::from(used.kind == Kind::Table);
            lingering += u64::from(!used.allocated);
        }
        let memory = domain.memory.lock();
        let grants = domain.grants.lock();
        let held = u64::from(grants.size().0) + u64::from(grants.in_use());
        let held = held + domain.events.lock().held_frames() as u64 + u64::from(!domain.is_dead());
        let held = held + domain.io.held_frames() as u64;
        let held = held + domain.vuart.get().map_or(0, |uart| uart.lock().held_frames() as u64);
        let areas = domain.vcpus.iter().map(|vcpu| vcpu.runstate.lock());
        let held = held + areas.filter(|area| matches!(**area, RunstateArea::Page(..))).count() as u64;
        if found != expected + held {
            return Err(Imbalance::Leak(domain.id, found, expected + held));
        }
        if pages != memory.pages {
            return Err(Imbalance::Charge(domain.id, pages, memory.pages));
        }
        let needed = memory.p2m.tables() + memory.p2m.pool().len() + memory.p2m.root_pages();
        if tables != needed {
            return Err(Imbalance::Tables(domain.id, tables, needed));
        }
        if i64::try_from(lingering) != Ok(domain.lingering()) {
            return Err(Imbalance::Lingering(domain.id, lingering, domain.lingering()));
        }
        if domain.is_dead() && pages + tables > 0 {
            return Err(Imbalance::Undead(domain.id));
        }
        Ok(())
    }
}

/// No domain has an ioreq server whose maker may not be its device model. One that is dying has those that it made until
/// its vCPUs have left their CPUs.
fn check_servers(domains: &[Arc<Domain>]) -> Result<(), Imbalance> {
    for guest in domains {
        let forbidden = |maker: &&Arc<Domain>| !maker.is_dying() && !guest.has_device_model(maker);
        if let Some(maker) = domains.iter().filter(forbidden).find(|maker| guest.io.has_server_of(maker.id)) {
            return Err(Imbalance::Forbidden(maker.id, guest.id));
        }
    }
    Ok(())
}
