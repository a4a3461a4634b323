//! The books: what the frame table says of each frame against what the domains map and the hypervisor holds.

use std::collections::BTreeMap;

use crate::domain::Domain;
use crate::domain::memory::holds_reference;
use crate::mm::frames::{Kind, State};
use crate::p2m::MapKind;
use crate::types::{DomId, Gfn, Mfn};

use super::Machine;

/// Where the books do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imbalance {
    /// The frame table contradicts the allocator.
    Table(Mfn),
    /// A domain can reach a frame that is not a page of its RAM, as if it were.
    Foreign(DomId, Gfn, Mfn),
    /// A frame has fewer references than mappings.
    Unreferenced(Mfn),
    /// A domain's frames have another number of references than there are mappings and holds of them: found, expected.
    Leak(DomId, u64, u64),
    /// A domain is not charged for the RAM that it has: has, charged.
    Charge(DomId, u64, u64),
}

impl Machine {
    /// Compares all books. What is in use elsewhere at the same time would look like an error, so nothing may be.
    ///
    /// # Errors
    /// The first [`Imbalance`].
    pub fn audit(&self) -> Result<(), Imbalance> {
        self.hv.frames.audit(DomId::XEN).map_err(|wrong| Imbalance::Table(wrong.0))?;
        let domains = self.hv.domains();
        let mut mapped: BTreeMap<u64, u64> = BTreeMap::new();
        for domain in &domains {
            self.count_mappings(domain, &mut mapped)?;
        }
        for domain in &domains {
            self.balance(domain, &mapped)?;
        }
        Ok(())
    }

    fn count_mappings(&self, domain: &Domain, mapped: &mut BTreeMap<u64, u64>) -> Result<(), Imbalance> {
        let memory = domain.memory.lock();
        let end = memory.p2m.geometry().end().0;
        let mut from = 0;
        while from < end {
            let Ok((runs, reached)) = memory.p2m.scan(Gfn(from), end - from) else { break };
            for run in &runs {
                for page in 0..run.pages {
                    let (gfn, mfn) = (Gfn(run.gfn.0 + page), Mfn(run.mfn.0 + page));
                    if holds_reference(run.kind) {
                        *mapped.entry(mfn.0).or_default() += 1;
                    } else if run.kind == MapKind::Ram && !self.hv.frames.is_ram_of(mfn, domain.id) {
                        return Err(Imbalance::Foreign(domain.id, gfn, mfn));
                    }
                }
            }
            from += reached.max(1);
        }
        Ok(())
    }

    fn balance(&self, domain: &Domain, mapped: &BTreeMap<u64, u64>) -> Result<(), Imbalance> {
        let (mut found, mut expected, mut pages) = (0, 0, 0);
        for mfn in self.all_frames() {
            let Ok(State::Used(used)) = self.hv.frames.state(mfn) else { continue };
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
        }
        let grants = domain.grants.lock();
        let held = u64::from(grants.size().0) + u64::from(grants.in_use());
        let held = held + domain.events.lock().held_frames() as u64 + 1;
        let held = held + domain.io.held_frames() as u64;
        if found != expected + held {
            return Err(Imbalance::Leak(domain.id, found, expected + held));
        }
        let charged = domain.memory.lock().pages;
        if pages != charged {
            return Err(Imbalance::Charge(domain.id, pages, charged));
        }
        Ok(())
    }
}
