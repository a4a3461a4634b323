//! The end of a domain: taken apart in steps, each short, until nothing of it is left that nobody else uses.
//!
//! First it stops: nothing is given to it or taken from it, and its vCPUs leave their CPUs. Then what it has of others goes
//! back, then its own memory. Frames that others still refer to outlive it, and keep its number taken: such a domain is
//! dead, but on the list. The last reference takes it off (`release`).

#[cfg(not(target_os = "none"))]
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;

use crate::hypervisor::Hypervisor;
use xenolith_arch as arch;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_memory::frames::{FrameRange, Search};
use xenolith_memory::p2m::MapKind;
use xenolith_policy::event::Closing;
use xenolith_policy::grant;

use crate::domain::{Domain, DomainRef};
use crate::parts::memory::holds_reference;
use crate::parts::progress::Progress;
use crate::parts::teardown::{Life, Phase, Teardown};

/// The work that one call may still do, in about as many pages.
struct Budget(u32);

impl Budget {
    /// Takes off what a step costs, if that is left.
    fn spend(&mut self, cost: u32) -> Option<()> {
        self.0 = self.0.checked_sub(cost)?;
        Some(())
    }

    /// Takes off up to `wanted` pages: how many. `None`: nothing is left.
    fn take(&mut self, wanted: u64) -> Option<u64> {
        let taken = wanted.min(self.0.into());
        self.0 = self.0.checked_sub(u32::try_from(taken).ok()?)?;
        (taken > 0).then_some(taken)
    }
}

/// The least that a call may be allowed: as much as the dearest step costs.
const LEAST_BUDGET: u32 = 96;
/// Handles that are looked at in a step.
const HANDLES: u32 = 64;
/// What it costs to look for mappings once.
const SEARCH: u32 = 96;
/// Machine frames that are looked at in a step, in the search for RAM that is not mapped.
const FRAMES_IN_STEP: u32 = 1024;
/// What such a step costs.
const FRAMES: u32 = 16;
/// What it costs to give a page back by itself: the allocator's work is not shared by the pages of a run.
const PAGE: u32 = 4;
/// What it costs to end what the domain served of another.
const SERVICE: u32 = 16;

impl Domain {
    /// Whether its destruction has begun: it gets no memory, grants, events or mappings any more, and nobody gets any of
    /// its own.
    pub fn is_dying(&self) -> bool {
        self.life.load(Ordering::SeqCst) >= Life::Dying as u8
    }

    /// Whether its destruction is complete, but for frames that others refer to. This is the `dying` that the control
    /// domain is told of (`XEN_DOMINF_dying`).
    pub fn is_dead(&self) -> bool {
        self.life.load(Ordering::SeqCst) >= Life::Dead as u8
    }

    /// Frames that were mapped with a reference, and whose reference is not dropped yet.
    #[cfg(not(target_os = "none"))]
    #[expect(clippy::disallowed_methods, reason = "for tests, on the host")]
    pub fn unmapped_references(&self) -> Vec<Mfn> {
        let teardown = self.teardown.lock();
        let runs = teardown.unmapped.iter().filter(|run| holds_reference(run.kind));
        runs.flat_map(|run| (run.mfn.0..run.mfn.0.saturating_add(run.pages)).map(Mfn)).collect()
    }

    /// Frames that it has given up and others still refer to.
    #[cfg(not(target_os = "none"))]
    pub fn lingering(&self) -> i64 {
        self.lingering.load(Ordering::SeqCst)
    }
}

impl Hypervisor {
    /// What a call of [`Self::destroy_domain`] is allowed when nothing else speaks for more or less: about as long as a
    /// guest may be kept from its interrupts.
    pub const DESTROY_BUDGET: u32 = LEAST_BUDGET;

    /// Destroys a domain (`XEN_DOMCTL_destroydomain`), or goes on with that; `budget` limits the work of one call, in
    /// about as many pages. It may be called on several CPUs at once; each is to call again until all is done.
    /// [`Progress::Done`] also for a domain that has been destroyed.
    ///
    /// Its vCPUs stop, what it has of others is given back, and its own memory is freed as far as nobody else refers to
    /// it. The control domain is told (`VIRQ_DOM_EXC`) when the domain is dead, and when it is gone: as long as others
    /// refer to its frames it can still be found.
    ///
    /// `EINVAL`: the control domain cannot be destroyed.
    pub fn destroy_domain(&self, domain: &Domain, budget: u32) -> Result<Progress, Errno> {
        if domain.is_control {
            return Err(Errno::EINVAL);
        }
        self.reap();
        // Another CPU may be at it; waiting for it here would hold up this one's guests.
        let Some(mut teardown) = domain.teardown.try_lock() else { return Ok(Progress::Again) };
        #[cfg(feature = "check-tables")]
        if teardown.phase == Phase::Start {
            let looked = domain.on(self).check_all_tables();
            crate::arch::demand(looked, format_args!("the last call before the end of {}", domain.id));
        }
        let mut budget = Budget(budget.max(LEAST_BUDGET));
        // Every step that is done is entered in `teardown`, so a call that stops anywhere goes on there.
        while teardown.phase != Phase::Over {
            if teardown.step(domain.on(self), &mut budget)?.is_none() {
                return Ok(Progress::Again);
            }
        }
        Ok(Progress::Done)
    }

    /// Ends what is left of domains that were taken off the list and that nobody refers to any more: their vCPUs leave the
    /// scheduler.
    pub fn reap(&self) {
        self.reap_zombies(|domain| self.remove_units(&domain.vcpus));
    }
}

impl DomainRef<'_> {
    /// Takes the domain off the list if it is dead and nobody refers to its frames any more.
    pub(crate) fn forget_if_over(self) {
        if self.is_dead() && self.lingering.load(Ordering::SeqCst) == 0 && self.hv.unlink(&self) {
            self.hv.raise_global_virq(Virq::DomExc);
        }
    }
}

impl Teardown {
    /// The next step. `None`: it is to be made again, by another call.
    fn step(&mut self, domain: DomainRef<'_>, budget: &mut Budget) -> Result<Option<()>, Errno> {
        let next = match self.phase {
            Phase::Start => {
                begin(domain);
                Some(Phase::Quiesce)
            }
            Phase::Quiesce => quiesce(domain).then_some(Phase::Service(DomId(0))),
            Phase::Service(from) => {
                budget.spend(SERVICE).map(|()| {
                    let (next, ended) = domain.end_service(from);
                    if ended {
                        // That was enough for this call.
                        *budget = Budget(0);
                    }
                    next.map_or(Phase::Events, Phase::Service)
                })
            }
            Phase::Events => close_events(domain, budget).map(|()| Phase::Grants(0)),
            Phase::Grants(from) => budget.spend(HANDLES).map(|()| {
                let rest = grant::release_held(&domain, from, HANDLES);
                rest.map_or(Phase::Memory(0), Phase::Grants)
            }),
            Phase::Memory(from) => self.free_memory(domain, from, budget)?,
            Phase::Strays(from) => free_strays(domain, from, budget),
            Phase::Tables => free_tables(domain, budget).map(|()| {
                finish(domain);
                Phase::Over
            }),
            Phase::Over => Some(Phase::Over),
        };
        if let Some(next) = next {
            self.phase = next;
        }
        Ok(next.map(|_| ()))
    }

    /// Lets go of a part of what has been unmapped, or unmaps more. The next phase, or this one again further on.
    fn free_memory(
        &mut self,
        domain: DomainRef<'_>,
        from: u64,
        budget: &mut Budget,
    ) -> Result<Option<Phase>, Errno> {
        if let Some(run) = self.unmapped.last_mut() {
            let Some(pages) = budget.take(run.pages) else { return Ok(None) };
            let part = FrameRange { first: run.mfn, pages };
            (run.mfn, run.pages) = (Mfn(run.mfn.0.saturating_add(pages)), run.pages.saturating_sub(pages));
            let kind = run.kind;
            if run.pages == 0 {
                self.unmapped.pop();
            }
            let_go(domain, kind, part);
            return Ok(Some(Phase::Memory(from)));
        }
        if budget.spend(SEARCH).is_none() {
            return Ok(None);
        }
        let mut memory = domain.memory.lock();
        // To the very end, so that no table is left linked.
        let end = memory.p2m.geometry().end().0;
        let Some(left) = end.checked_sub(from).filter(|&left| left > 0) else {
            let stray = memory.pages > 0;
            return Ok(Some(if stray { Phase::Strays(Mfn(0)) } else { Phase::Tables }));
        };
        // They are flushed when this returns, and their references go afterwards, without the lock and in portions.
        let (runs, done) = memory.p2m.unmap(Gfn(from), left)?;
        self.unmapped.extend(runs);
        Ok(Some(Phase::Memory(from.saturating_add(done))))
    }
}

/// Marks the domain as dying: from now on it gets no memory, grants or mappings, others get none of its own, and its vCPUs
/// are paused.
fn begin(domain: DomainRef<'_>) {
    // The mark before the locks: whoever gives the domain something asks for the mark under the lock of what it
    // changes, so either it sees the mark, or what it gave is there when that lock is taken here or later.
    domain.life.store(Life::Dying as u8, Ordering::SeqCst);
    domain.memory.lock().closed = true;
    domain.grants.lock().close();
    for vcpu in &domain.vcpus {
        domain.hv.kick(domain.hv.scheduler.pause(vcpu.unit, arch::now()));
    }
}

/// Whether all vCPUs have left their CPUs, and no ioreq server is left. Then they are off and found no more, and its devices
/// and interrupts are nobody's: no call of its own is left that could make or report one.
fn quiesce(domain: DomainRef<'_>) -> bool {
    if domain.vcpus.iter().any(|vcpu| domain.hv.scheduler.running_on(vcpu.unit).is_some()) {
        return false;
    }
    // One at a time, each with many ports and ranges.
    if domain.end_server() {
        return false;
    }
    // Paused, they are not picked again; a timer that is due for one finds nobody.
    domain.hv.forget_vcpus(&domain);
    // What is left of the domain may stay for long: it keeps no CPU from others.
    for vcpu in &domain.vcpus {
        domain.hv.kick(domain.hv.scheduler.stop(vcpu.unit, arch::now()));
    }
    // These and the UART hold frames of the domain's own, which would keep it from being over.
    domain.forget_runstates();
    domain.end_devices();
    if let Some(control) = domain.hv.domain(DomId::CONTROL) {
        // What was passed through goes back to its giver; what it had from the boot is nobody's after that.
        domain.give_interrupts_back(&control);
    }
    domain.hv.release_interrupts(domain.id);
    domain.withdraw_console();
    true
}

fn close_events(domain: DomainRef<'_>, budget: &mut Budget) -> Option<()> {
    loop {
        // One port at a time: its other end is told without this table's lock.
        let step = domain.events.lock().teardown_step(&mut budget.0);
        match step {
            Closing::Disconnect(peer) => domain.hv.disconnect_event(peer),
            Closing::Release(frame) => domain.hv.put_frame(frame),
            Closing::Again => return None,
            Closing::Done => return Some(()),
        }
    }
}

/// Lets go of frames that were mapped.
fn let_go(domain: DomainRef<'_>, kind: MapKind, frames: FrameRange) {
    if kind.is_ram() {
        give_up_ram(domain, frames);
    } else if holds_reference(kind) {
        for mfn in frames.first.0..frames.end() {
            domain.hv.release_frame(Mfn(mfn));
        }
    }
}

fn give_up_ram(domain: DomainRef<'_>, frames: FrameRange) {
    if domain.give_up(frames).is_err() {
        bug!("{}: what it has mapped as RAM from {} on is not its own", domain.id, frames.first);
    }
    let mut memory = domain.memory.lock();
    memory.pages = memory.pages.saturating_sub(frames.pages);
}

/// Frees RAM that is mapped nowhere: what was mapped in its place took only the mapping. Each step looks at a part of the
/// machine's memory.
fn free_strays(domain: DomainRef<'_>, from: Mfn, budget: &mut Budget) -> Option<Phase> {
    if domain.memory.lock().pages == 0 {
        return Some(Phase::Tables);
    }
    budget.spend(FRAMES)?;
    Some(match domain.hv.frames.find_ram_of(domain.id, from, FRAMES_IN_STEP) {
        Search::Found(mfn) => {
            give_up_ram(domain, FrameRange { first: mfn, pages: 1 });
            Phase::Strays(mfn)
        }
        Search::Later(next) => Phase::Strays(next),
        Search::End => Phase::Tables,
    })
}

/// Gives back what the domain had of its promise, and ends that. What others use of its grants stays until they let go.
fn free_records(domain: DomainRef<'_>, budget: &mut Budget) -> Option<()> {
    let shrink = || {
        domain.maptrack.lock().shrink()
            || domain.events.lock().shrink()
            || domain.grants.lock().shrink()
            || domain.io.shrink()
            || domain.addresses.change().shrink()
            || domain.permits.lock().shrink()
    };
    while shrink() {
        budget.spend(PAGE)?;
    }
    let held = domain.grants.lock().held_pages().saturating_add(domain.io.held_pages());
    let promised = domain.promised.swap(held, Ordering::Relaxed);
    domain.hv.frames.end_promise(promised.saturating_sub(held));
    Some(())
}

fn free_tables(domain: DomainRef<'_>, budget: &mut Budget) -> Option<()> {
    loop {
        let frame = domain.grants.lock().take_frame();
        let Some(frame) = frame else { break };
        domain.hv.put_frame(frame);
        budget.spend(PAGE)?;
    }
    free_records(domain, budget)?;
    let mut memory = domain.memory.lock();
    while let Some(table) = memory.p2m.pool_mut().pop() {
        domain.hv.free_table(table, domain.id);
        budget.spend(PAGE)?;
    }
    // All that was mapped is unmapped, no CPU has its tables, and none will: the VMID can go.
    domain.hv.end_p2m(domain.id, &mut memory.p2m);
    Some(())
}

/// Gives back the shared page, and marks the domain as dead. The order matters where another CPU may still be using a part.
fn finish(domain: DomainRef<'_>) {
    // Who is writing the time to the page of a domain that was alive a moment ago is done after this.
    drop(domain.hv.wall_clock.lock());
    let shared = domain.shared_info.mfn();
    if domain.give_up(FrameRange { first: shared, pages: 1 }).is_err() {
        bug!("{}: its shared page is not its own", domain.id);
    }
    // The frame stays where it is, and nobody uses it any more: events are closed, and the time is not written.
    domain.hv.release_frame(shared);
    // After the last frame was counted (`give_up`): from here on the count of lingering frames says when it is over.
    domain.life.store(Life::Dead as u8, Ordering::SeqCst);
    domain.hv.raise_global_virq(Virq::DomExc);
    domain.forget_if_over();
}
