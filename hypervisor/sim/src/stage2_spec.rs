//! An executable specification of stage 2: what each domain may reach, by who owns the frames and who was given a right to
//! them, held against what the MMU ([`mmu`]) makes of the tables that are in memory. What one look at a page and its frame
//! tells is in [`xenolith_isa::specification`], which serves on a machine, too; here are all domains and their rights.
//!
//! - RAM is reached as write-back memory, by its owner, by whom the owner has granted it to, by its owner's device model,
//!   and by those that have it in common from the start. Nobody reaches a frame that is free, a table, or the hypervisor's.
//! - Nobody writes what was granted for reading, or what its owner may only read.
//! - Only its owner executes RAM, and nobody anything else.
//! - What is not RAM is strict device memory. The control domain alone has some of it, at its own addresses, as memory; and
//!   another domain has none but what the control domain has, or what the machine's device tree gave it.
//! - No two domains share a table or a VMID, and a CPU knows the tables of the domain that it runs, or none.
//! - The hypervisor believes of each page what the MMU does.

use std::collections::{BTreeMap, BTreeSet};

use xenolith_memory::arc::Arc;

use alloc::vec::Vec;
use xenolith_abi::grant::GrantStatus;
use xenolith_arch::sim;
use xenolith_core::types::{CpuId, DomId, Gfn, Mfn, PAGE_SHIFT};
use xenolith_domain::domain::Domain;
use xenolith_isa::controls::GUEST_HCR;
use xenolith_isa::mmu::{self, Translation};
use xenolith_isa::specification::{
    Breach, Reach, check_device, check_ram, check_table, is_as_believed, pages,
};
use xenolith_memory::arena;
use xenolith_memory::frames::Kind;
use xenolith_memory::p2m::{MapKind, Run};
use xenolith_memory::page::Page;
use xenolith_policy::grant::{Lent, Mapping, Rights};

use super::Machine;

/// HCR_EL2.FWB: MemAttr would mean something else.
const FWB: u64 = 1 << 46;
const _: () = assert!(GUEST_HCR.bits() & FWB == 0);

/// One domain, as the MMU sees it.
struct Seen {
    domain: Arc<Domain>,
    tables: Vec<Mfn>,
    leaves: Vec<Translation>,
    /// The grants of others that it has mapped.
    grants: Vec<Mapping>,
    /// Pages that the hypervisor made for it: shared info, and its grant table.
    shared: Vec<Mfn>,
}

impl mmu::Visitor for Seen {
    fn table(&mut self, pa: u64) -> Option<Page> {
        let mfn = Mfn(pa >> PAGE_SHIFT);
        let page = arena::at(mfn)?;
        self.tables.push(mfn);
        Some(page)
    }

    fn leaf(&mut self, translation: Translation) -> bool {
        self.leaves.push(translation);
        true
    }
}

/// The pages that the hypervisor shares with a domain.
fn shared(domain: &Domain) -> Vec<Mfn> {
    let mut table = domain.grants.lock();
    let frames = 0..u64::from(table.size().0);
    let frames = frames.filter_map(|index| table.frame(index, || None).ok());
    frames.chain([domain.shared_info]).map(|page| page.mfn()).collect()
}

/// All grants of others that a domain has mapped.
fn grants(domain: &Domain) -> Vec<Mapping> {
    let mut maptrack = domain.maptrack.lock();
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        match maptrack.next_live(from, u32::MAX) {
            Ok(number) => {
                // A look that takes nothing.
                let _ = maptrack.take(number, |mapping| {
                    found.push(*mapping);
                    Err(GrantStatus::GeneralError)
                });
                from = number + 1;
            }
            Err(Some(next)) => from = next,
            Err(None) => return found,
        }
    }
}

impl Seen {
    fn new(domain: &Arc<Domain>) -> Result<Self, Breach> {
        let mut seen = Seen {
            domain: domain.clone(),
            tables: Vec::new(),
            leaves: Vec::new(),
            grants: grants(domain),
            shared: shared(domain),
        };
        let memory = domain.memory.lock();
        if memory.p2m.root_pages() == 0 {
            // They have ended.
            return Ok(seen);
        }
        let stage2 = domain.arch.stage2;
        if stage2.vttbr.space() != memory.p2m.space() {
            return Err(Breach::Registers(domain.id));
        }
        mmu::walk(stage2, 0, &mut seen).map_err(|error| Breach::Walk(domain.id, error))?;
        Ok(seen)
    }

    fn id(&self) -> DomId {
        self.domain.id
    }

    /// What the hypervisor believes, page for page as the MMU sees it.
    fn check_belief(&self) -> Result<(), Breach> {
        let memory = self.domain.memory.lock();
        let (mut from, end) = (0, memory.p2m.geometry().end().0);
        let mut believed = Vec::new();
        while from < end {
            let Ok((runs, reached)) = memory.p2m.scan(Gfn(from), end - from) else { break };
            believed.extend(runs);
            from += reached.max(1);
        }
        let mut believed = believed.into_iter();
        // What is left of the run that is being compared.
        let mut rest: Option<Run> = None;
        for leaf in &self.leaves {
            let (mut gfn, mut mfn) = (leaf.ipa >> PAGE_SHIFT, leaf.pa >> PAGE_SHIFT);
            let mut left = leaf.size >> PAGE_SHIFT;
            while left > 0 {
                let wrong = Err(Breach::Belief(self.id(), Gfn(gfn)));
                let Some(run) = rest.or_else(|| believed.next()) else { return wrong };
                if (run.gfn.0, run.mfn.0) != (gfn, mfn) || !is_as_believed(run.kind, leaf) {
                    return wrong;
                }
                let common = left.min(run.pages);
                (gfn, mfn, left) = (gfn + common, mfn + common, left - common);
                rest = (run.pages > common).then(|| Run {
                    gfn: Gfn(run.gfn.0 + common),
                    mfn: Mfn(run.mfn.0 + common),
                    pages: run.pages - common,
                    ..run
                });
            }
        }
        match rest.or_else(|| believed.next()) {
            Some(run) => Err(Breach::Belief(self.id(), run.gfn)),
            None => Ok(()),
        }
    }
}

/// All domains, and what their owners themselves may only read.
struct World<'m> {
    machine: &'m Machine,
    seen: Vec<Seen>,
    read_only: BTreeSet<(DomId, Mfn)>,
}

impl Machine {
    /// Notes what domains have in common, and which devices they have, by the device tree's word: called when they have just
    /// been made of it. Whoever comes by such a thing later has no right to it.
    pub fn note_boot_mappings(&self) {
        for domain in self.hv.domains() {
            let Ok(seen) = Seen::new(&domain) else { continue };
            let ram = self.ram();
            for reach in seen.leaves.iter().filter(|_| !domain.is_control).flat_map(|leaf| pages(*leaf)) {
                if !ram.contains(&reach.mfn.0) || !self.hv.frames.is_ram_of(reach.mfn, domain.id) {
                    self.from_start.borrow_mut().push((domain.id, reach.mfn));
                }
            }
        }
    }

    /// Holds the tables of all domains against the specification. No CPU may change them meanwhile.
    ///
    /// # Errors
    /// The first [`Breach`].
    pub fn check_stage2(&self) -> Result<(), Breach> {
        let seen = self.hv.domains().map(|domain| Seen::new(&domain)).collect::<Result<Vec<_>, _>>()?;
        let mut world = World { machine: self, seen, read_only: BTreeSet::new() };
        world.find_read_only();
        world.check_tables()?;
        for seen in &world.seen {
            for &leaf in &seen.leaves {
                world.check_leaf(seen, leaf)?;
            }
            seen.check_belief()?;
        }
        self.check_loaded()
    }

    fn is_from_start(&self, id: DomId, mfn: Mfn) -> bool {
        self.from_start.borrow().contains(&(id, mfn))
    }

    /// A CPU knows the tables of the domain that it runs.
    fn check_loaded(&self) -> Result<(), Breach> {
        let here = sim::this_cpu();
        let wrong = (0..).map(CpuId).zip(&self.cpus).find(|(number, played)| {
            sim::on_cpu(*number);
            sim::guest::stage2() != played.cpu.running().map(|vcpu| vcpu.domain.arch.stage2)
        });
        sim::on_cpu(here);
        wrong.map_or(Ok(()), |(number, _)| Err(Breach::Loaded(number)))
    }
}

impl World<'_> {
    fn find_read_only(&mut self) {
        let ram = self.machine.ram();
        for seen in &self.seen {
            let is_own = |mfn: Mfn| self.machine.hv.frames.is_ram_of(mfn, seen.id());
            let leaves =
                seen.leaves.iter().filter(|leaf| !leaf.write && ram.contains(&(leaf.pa >> PAGE_SHIFT)));
            let granted = |reach: &Reach| seen.grants.iter().any(|grant| grant.mfn == reach.mfn);
            let frames =
                leaves.flat_map(|leaf| pages(*leaf)).filter(|reach| is_own(reach.mfn) && !granted(reach));
            self.read_only.extend(frames.map(|reach| (seen.id(), reach.mfn)));
        }
    }

    /// Each table is one of the domain's, linked once; and no VMID is used twice.
    fn check_tables(&self) -> Result<(), Breach> {
        let (mut linked, mut vmids) = (BTreeSet::new(), BTreeMap::new());
        for seen in self.seen.iter().filter(|seen| !seen.tables.is_empty()) {
            let id = seen.id();
            for &mfn in &seen.tables {
                check_table(id, mfn, self.machine.hv.frames.state(mfn))?;
                if !linked.insert(mfn) {
                    return Err(Breach::Table(id, mfn));
                }
            }
            let vmid = seen.domain.arch.stage2.vttbr.0 >> 48;
            if let Some(other) = vmids.insert(vmid, id) {
                return Err(Breach::Vmid(other, id));
            }
        }
        Ok(())
    }

    fn check_leaf(&self, seen: &Seen, leaf: Translation) -> Result<(), Breach> {
        let ram = self.machine.ram();
        let (first, end) = (leaf.pa >> PAGE_SHIFT, (leaf.pa + leaf.size) >> PAGE_SHIFT);
        if end <= ram.start || first >= ram.end {
            return self.check_device(seen, leaf);
        }
        pages(leaf).try_for_each(|reach| self.check_ram(seen, reach))
    }

    fn check_device(&self, seen: &Seen, leaf: Translation) -> Result<(), Breach> {
        let (id, Reach { gfn, mfn, .. }) = (seen.id(), Reach::of(leaf, 0));
        check_device(id, seen.domain.is_control, leaf)?;
        if seen.domain.is_control || pages(leaf).all(|reach| self.is_given(id, reach.mfn)) {
            return Ok(());
        }
        Err(Breach::Device(id, gfn, mfn))
    }

    /// Whether a domain may have a device: the virtual interface of the interrupt controller is everybody's.
    fn is_given(&self, id: DomId, mfn: Mfn) -> bool {
        let of_controller = sim::gic::virtual_cpu_interface().is_some_and(|(first, size)| {
            let start = first.0 >> PAGE_SHIFT;
            (start..start + (size >> PAGE_SHIFT)).contains(&mfn.0)
        });
        of_controller || self.machine.is_from_start(id, mfn) || self.is_the_controllers(mfn)
    }

    /// Whether the control domain has the device at its own address.
    fn is_the_controllers(&self, mfn: Mfn) -> bool {
        let address = mfn.0 << PAGE_SHIFT;
        let has =
            |leaf: &Translation| leaf.ipa == leaf.pa && address >= leaf.pa && address - leaf.pa < leaf.size;
        self.seen.iter().any(|seen| seen.domain.is_control && seen.leaves.iter().any(has))
    }

    fn check_ram(&self, seen: &Seen, page: Reach) -> Result<(), Breach> {
        let (id, Reach { gfn, mfn, how }) = (seen.id(), page);
        let used = check_ram(id, page, self.machine.hv.frames.state(mfn))?;
        let is_own = used.owner == id && used.allocated;
        if used.kind != Kind::Ram && used.owner == id {
            // What the hypervisor shares with its device models is not for the domain itself.
            let may = seen.shared.contains(&mfn) || seen.domain.is_dying();
            return if may { Ok(()) } else { Err(Breach::Right(id, gfn, mfn)) };
        }
        if is_own && how.execute {
            return Ok(());
        }
        // By a grant, also by one of its own to itself.
        let of_grant = |grant: &&Mapping| grant.gfn == gfn && grant.mfn == mfn && self.is_lent(id, grant);
        let mut by_grant = seen.grants.iter().filter(of_grant).peekable();
        if used.kind == Kind::Ram && by_grant.peek().is_some() {
            let may_write = by_grant.any(|grant| grant.rights == Rights::ReadWrite);
            if how.write && (!may_write || self.read_only.contains(&(used.owner, mfn))) {
                return Err(Breach::Write(id, gfn, mfn));
            }
            return Ok(());
        }
        // What is marked as a grant goes only with its handle: without one it would stay.
        let marked = [MapKind::Grant, MapKind::GrantReadOnly].map(MapKind::number);
        if marked.contains(&how.software.into()) {
            return Err(Breach::Right(id, gfn, mfn));
        }
        if is_own || self.machine.is_from_start(id, mfn) {
            return Ok(());
        }
        // By privilege. Who dies keeps what it has until it is let go.
        let owner = self.seen.iter().find(|owner| owner.id() == used.owner && owner.id() != id);
        let may = |owner: &Seen| seen.domain.is_dying() || owner.domain.has_device_model(&seen.domain);
        if !owner.is_some_and(may) {
            return Err(Breach::Right(id, gfn, mfn));
        }
        if how.write && self.read_only.contains(&(used.owner, mfn)) {
            return Err(Breach::Write(id, gfn, mfn));
        }
        Ok(())
    }

    /// Whether the granter's table says so too.
    fn is_lent(&self, to: DomId, grant: &Mapping) -> bool {
        let granter = self.seen.iter().find(|seen| seen.id() == grant.granter);
        let lends = |granter: &Seen| granter.domain.grants.lock().lends(grant.mfn, to, grant.reference, 1);
        granter.is_some_and(|granter| lends(granter) == Lent::Yes)
    }
}
