//! The whole of the hypervisor's state: one value, made at boot, that everything else is given by reference.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering};
use xenolith_memory::arc::Arc;

use xenolith_abi::Errno;

use crate::accounting::Accounts;
use crate::arch::{FIRST_SHARED_INTERRUPT, HypervisorArch, kick_cpu, silence_interrupt};
use crate::domain::Domain;
use crate::timers::VcpuTimers;
use crate::vcpu::Vcpu;
use xenolith_arch as arch;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::sync::{Mutex, RwLock};
use xenolith_core::types::{DomId, Intid, VcpuId};
use xenolith_host::command_line::Options;
use xenolith_memory::frames::{Frames, ScrubCursor};
use xenolith_memory::p2m::{Geometry, Vmids};
use xenolith_policy::sched::kicks::Kicks;
use xenolith_policy::sched::{CpuMask, Scheduler, UnitId};
use xenolith_policy::slots::Slots;

/// A reference to a vCPU: its domain, kept alive, and its number there.
#[derive(Clone)]
pub struct VcpuRef {
    /// Its domain.
    pub domain: Arc<Domain>,
    /// Its number there.
    pub id: VcpuId,
}

impl VcpuRef {
    /// The vCPU itself. A reference is only made for one that exists.
    #[cfg_attr(
        target_os = "none",
        expect(clippy::indexing_slicing, reason = "no caller could go on without its vCPU")
    )]
    pub fn vcpu(&self) -> &Vcpu {
        &self.domain.vcpus[usize::from(self.id.0)]
    }
}

pub use crate::arch::Lines;

/// The hypervisor.
pub struct Hypervisor {
    /// What the command line asked for.
    pub options: Options,
    /// Machine memory.
    pub frames: Frames,
    /// Which vCPU runs where.
    pub scheduler: Scheduler,
    /// The timers of vCPUs, on each CPU.
    pub timers: VcpuTimers,
    /// The command line, as the boot loader gave it.
    pub command_line: String,
    /// The shape of every domain's second-stage tables.
    pub geometry: Geometry,
    cpus: AtomicU16,
    lines: Lines,
    domains: RwLock<Vec<Arc<Domain>>>,
    /// The VMIDs of domains.
    pub vmids: Mutex<Vmids>,
    /// The number that was given to the newest domain; locked while a domain is created, so that no two get the same.
    pub(crate) creating: Mutex<DomId>,
    /// Domains that were unlinked and to which somebody still holds a reference: their vCPUs are still in the scheduler.
    zombies: Mutex<Vec<Arc<Domain>>>,
    units: RwLock<Vec<Option<VcpuRef>>>,
    /// Kicks without an interrupt.
    pub kicks: Kicks,
    /// Wall-clock nanoseconds since 1970 at the machine's reset, when the counter was zero. They may be below zero where no
    /// clock was ever set.
    pub wall_clock: Mutex<i64>,
    /// Shared interrupts: which domain has each one. Indexed by number, from the first shared one on.
    routes: RwLock<Vec<Option<DomId>>>,
    /// How far scrubbing of the memory that was free at boot has come; `None` before it starts and once it is done.
    scrubbing: Mutex<Option<ScrubCursor>>,
    /// Devices of guests, and who serves them.
    pub slots: Mutex<Slots>,
    /// What only the architecture knows of the machine's CPUs.
    pub arch: HypervisorArch,
    /// What the hypervisor costs, where that is counted.
    pub accounts: Accounts,
}

impl Hypervisor {
    /// The hypervisor with one CPU up and no domain.
    pub fn new(
        options: Options,
        command_line: String,
        frames: Frames,
        scheduler: Scheduler,
        geometry: Geometry,
        lines: Lines,
    ) -> Self {
        Hypervisor {
            options,
            command_line,
            frames,
            timers: VcpuTimers::new(scheduler.cpus()),
            scheduler,
            geometry,
            cpus: AtomicU16::new(1),
            lines,
            domains: RwLock::new(Vec::new()),
            vmids: Mutex::default(),
            creating: Mutex::new(DomId::CONTROL),
            zombies: Mutex::default(),
            units: RwLock::new(Vec::new()),
            kicks: Kicks::new(),
            wall_clock: Mutex::new(0),
            routes: RwLock::new(Vec::new()),
            scrubbing: Mutex::new(None),
            slots: Mutex::default(),
            arch: HypervisorArch::of_machine(),
            accounts: Accounts::default(),
        }
    }

    /// The number of physical CPUs that are up.
    pub fn cpus(&self) -> u16 {
        self.cpus.load(Ordering::Relaxed)
    }

    /// Counts another CPU that is up.
    pub fn count_cpu(&self) {
        self.cpus.fetch_add(1, Ordering::Relaxed);
    }

    /// The interrupts that the hypervisor itself uses.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    /// Has idle CPUs scrub the memory that was free at boot, if the options say so. It starts after the first domain has its
    /// memory: frames being scrubbed are out of the allocator, and would be a hole in the domain's RAM.
    pub fn start_scrubbing(&self) {
        *self.scrubbing.lock() = self.options.scrub.then(ScrubCursor::default);
    }

    /// Scrubs a little of the memory that was free at boot. False when nothing is left to do, or another CPU is at it.
    ///
    /// For idle CPUs: nobody waits for it, since a frame that is not scrubbed yet is zeroed when it is allocated.
    pub fn scrub_a_little(&self) -> bool {
        let Some(mut scrubbing) = self.scrubbing.try_lock() else { return false };
        let more = scrubbing.as_mut().is_some_and(|cursor| self.frames.scrub_some(cursor));
        if !more {
            *scrubbing = None;
        }
        more
    }

    /// Adds a domain that is complete: its vCPUs can be scheduled from now on. `ENOMEM`: no memory. `EEXIST`: another has
    /// its number.
    pub(crate) fn add_domain(&self, domain: &Arc<Domain>) -> Result<(), Errno> {
        let end = domain.vcpus.iter().map(|vcpu| vcpu.unit.0 as usize + 1).max().unwrap_or(0);
        let mut domains = self.domains.write();
        domains.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let place = match domains.binary_search_by_key(&domain.id, |other| other.id) {
            Err(place) => place,
            Ok(_) => return Err(Errno::EEXIST),
        };
        // Room in the zombies for every domain there is, so that the way into it does not fail.
        self.zombies.lock().try_reserve(domains.len() + 1).map_err(|_| Errno::ENOMEM)?;
        let mut units = self.units.write();
        let more = end.saturating_sub(units.len());
        units.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        if more > 0 {
            units.resize(end, None);
        }
        for vcpu in &domain.vcpus {
            if let Some(unit) = units.get_mut(vcpu.unit.0 as usize) {
                *unit = Some(VcpuRef { domain: domain.clone(), id: vcpu.id });
            }
        }
        drop(units);
        domain.write_wall_clock(*self.wall_clock.lock());
        domains.insert(place, domain.clone());
        Ok(())
    }

    /// The domain with this number, dying ones included ([`Domain::is_dying`]).
    #[inline(never)]
    pub fn domain(&self, id: DomId) -> Option<Arc<Domain>> {
        self.domains.read().iter().find(|domain| domain.id == id).cloned()
    }

    /// The domain with the lowest number that is not below `id`.
    #[inline]
    pub fn domain_from(&self, id: DomId) -> Option<Arc<Domain>> {
        let domains = self.domains.read();
        let place = domains.partition_point(|domain| domain.id < id);
        domains.get(place).cloned()
    }

    /// The number of domains, dying ones included.
    pub fn domain_count(&self) -> usize {
        self.domains.read().len()
    }

    /// The domain with this number, unless it is dying.
    #[inline]
    pub fn live_domain(&self, id: DomId) -> Option<Arc<Domain>> {
        self.domain(id).filter(|domain| !domain.is_dying())
    }

    /// All domains, in the order of their numbers. No lock is held between two steps: a domain that is added meanwhile is
    /// found if its number is higher than that of the domain returned last.
    pub fn domains(&self) -> impl Iterator<Item = Arc<Domain>> {
        let mut next = Some(DomId(0));
        core::iter::from_fn(move || {
            let domain = self.domain_from(next?)?;
            next = domain.id.0.checked_add(1).map(DomId);
            Some(domain)
        })
    }

    /// The first of these numbers that no domain has.
    pub fn free_number(&self, mut among: impl Iterator<Item = u16>) -> Option<DomId> {
        let domains = self.domains.read();
        let is_free = |id: &u16| domains.binary_search_by_key(&DomId(*id), |domain| domain.id).is_err();
        among.find(is_free).map(DomId)
    }

    /// The vCPU that the scheduler knows by this number.
    #[inline]
    pub fn vcpu(&self, unit: UnitId) -> Option<VcpuRef> {
        self.units.read().get(unit.0 as usize).cloned().flatten()
    }

    /// Removes a domain's vCPUs from the table by which the scheduler's numbers are looked up.
    pub(crate) fn forget_vcpus(&self, domain: &Domain) {
        let mut units = self.units.write();
        for vcpu in &domain.vcpus {
            if let Some(unit) = units.get_mut(vcpu.unit.0 as usize) {
                *unit = None;
            }
        }
    }

    /// Takes a domain off the list of domains, and keeps it as a zombie until nobody refers to it. True for the caller who
    /// did so, false if another was first.
    pub(crate) fn unlink(&self, domain: &Domain) -> bool {
        let mut domains = self.domains.write();
        let Some(place) = domains.iter().position(|other| core::ptr::eq(Arc::as_ptr(other), domain)) else {
            return false;
        };
        // `add_domain` has made room for all of them.
        self.zombies.lock().push(domains.remove(place));
        true
    }

    /// Reaps zombies: calls `end` on each domain that was unlinked and that nobody refers to any more, and drops it.
    pub(crate) fn reap_zombies(&self, end: impl Fn(&Domain)) {
        let mut zombies = self.zombies.lock();
        let mut index = 0;
        while index < zombies.len() {
            // Nobody can get a new reference: the domain is on no list, and this one is not given out.
            match zombies.get_mut(index).and_then(Arc::get_mut) {
                Some(domain) => {
                    end(domain);
                    let promised = *domain.promised.get_mut();
                    // First the domain, and with it all that it still has of its promise.
                    drop(zombies.swap_remove(index));
                    self.frames.end_promise(promised);
                }
                None => index += 1,
            }
        }
    }

    /// Gives a shared interrupt to a domain.
    pub fn give_interrupt(&self, intid: Intid, to: DomId) -> Result<(), Errno> {
        let index = route_index(intid).ok_or(Errno::EINVAL)?;
        let mut routes = self.routes.write();
        if index >= routes.len() {
            let more = index + 1 - routes.len();
            routes.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
            routes.resize(index + 1, None);
        }
        if let Some(route) = GuestIndex::from(index).of_mut(&mut routes) {
            *route = Some(to);
        }
        Ok(())
    }

    /// Takes all shared interrupts from a domain, and disables them.
    pub(crate) fn release_interrupts(&self, from: DomId) {
        let mut routes = self.routes.write();
        let shared = (FIRST_SHARED_INTERRUPT.0..).map(Intid);
        for (intid, route) in shared.zip(routes.iter_mut()).filter(|(_, route)| **route == Some(from)) {
            silence_interrupt(intid);
            *route = None;
        }
    }

    /// Takes a shared interrupt from one domain and gives it to another, masked and inactive. False: it was not the
    /// first one's.
    pub fn move_interrupt(&self, intid: Intid, from: DomId, to: DomId) -> bool {
        let Some(index) = route_index(intid) else { return false };
        let mut routes = self.routes.write();
        match GuestIndex::from(index).of_mut(&mut routes) {
            Some(route) if *route == Some(from) => {
                silence_interrupt(intid);
                *route = Some(to);
                true
            }
            _ => false,
        }
    }

    /// The lowest shared interrupt from `intid` on that belongs to a domain.
    pub fn next_interrupt_of(&self, owner: DomId, intid: Intid) -> Option<Intid> {
        let routes = self.routes.read();
        let start = intid.max(FIRST_SHARED_INTERRUPT);
        let shared = (start.0..).map(Intid);
        let mut numbers = shared.zip(routes.iter().skip(route_index(start)?));
        numbers.find(|(_, route)| **route == Some(owner)).map(|(intid, _)| intid)
    }

    /// The domain that a shared interrupt belongs to.
    #[inline]
    pub fn owner_of_interrupt(&self, intid: Intid) -> Option<DomId> {
        GuestIndex::from(route_index(intid)?).of(&self.routes.read()).copied().flatten()
    }

    /// Makes CPUs reschedule. The calling CPU does so before it enters a guest or sleeps, and a CPU that busy-polls does so at
    /// once; all others are sent an interrupt.
    #[inline]
    pub fn kick(&self, cpus: CpuMask) {
        if cpus.is_empty() {
            return;
        }
        let own = arch::this_cpu();
        for cpu in cpus.iter() {
            if cpu == own {
                self.kicks.kick_own(own);
            } else if !self.kicks.kick_polling(cpu) {
                kick_cpu(cpu);
            }
        }
    }

    /// Makes a vCPU that sleeps runnable.
    #[inline]
    pub fn wake(&self, unit: UnitId) {
        self.kick(self.scheduler.wake(unit, arch::now()));
    }

    /// Publishes the wall-clock time to every domain, given as that of the machine's reset (nanoseconds since 1970).
    pub fn set_wall_clock(&self, at_reset: i64) {
        let domains = self.domains.read();
        // Held while the time is written, so that two callers do not mix theirs.
        let mut wall_clock = self.wall_clock.lock();
        *wall_clock = at_reset;
        for domain in domains.iter().filter(|domain| !domain.is_dying()) {
            domain.write_wall_clock(at_reset);
        }
    }
}

/// The place of a shared interrupt among [`Hypervisor`]'s routes; `None` for a private one.
#[inline]
fn route_index(intid: Intid) -> Option<usize> {
    Some(intid.0.checked_sub(FIRST_SHARED_INTERRUPT.0)? as usize)
}
