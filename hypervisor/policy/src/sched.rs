//! The scheduler: which unit (a vCPU, to everybody else) runs on which CPU, and until when.
//!
//! It is pure policy. It saves no register, sends no interrupt and reads no clock: it is told the time in counter
//! ticks, and answers with the unit to run, the tick at which to ask again, and the CPUs that should ask at once (the
//! "kicks"; the caller's own CPU may be among them). An idle CPU and a CPU with one unit get no tick at all.
//!
//! Locks: one per run queue, and inside it one per unit; never two queues at once. A unit on its way between queues is
//! held by one CPU (`Stage::Migrating`); others only note in the unit what they want of it, and that CPU acts on it.
//! The pick path takes the lock of its own queue, and those of others only when it has nothing to run.
//!
//! Within a CPU, time is shared among domains by weight, however many units each has there (`sched/queue.rs`). Between CPUs,
//! a unit that is taken off its CPU while it could go on moves to where the least load is, and an idle CPU takes waiting
//! units from others. A unit's load is its part of its domain's weight.

mod idle;
#[cfg(test)]
mod interleavings;
pub mod kicks;
mod pinned;
mod place;
mod queue;
#[cfg(test)]
mod tests;
mod unit;
mod vtime;

use alloc::boxed::Box;
use alloc::sync::Arc;

use xenolith_abi::Errno;

use pinned::Assignments;
use queue::{Queue, Wanting};
use unit::{MOST_UNITS, Slab, Stage, Unit, UnitSlot};
pub use unit::{RunState, Times};
pub use xenolith_core::cpu_mask::CpuMask;

use xenolith_core::bug;
use xenolith_core::{sync::Mutex, types::CpuId};
use xenolith_hw::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A unit's number: small, dense, and used again after [`Scheduler::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u32);

/// How CPUs are shared (option `sched=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All units share all CPUs of their affinity by weight.
    Fair,
    /// Each online unit has a CPU of its own; those for which none is left wait, as under Xen's `null`.
    Pinned,
}

/// A domain's share of the machine, in which its units have equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// Xen's weight: 256 is usual, 0 counts as 1.
    pub weight: u16,
    /// How many units the domain has.
    pub units: u16,
    /// The first of them; `None` for that one itself, which goes last.
    pub first: Option<UnitId>,
}

#[cfg(test)]
impl CpuShare {
    /// That of a domain with one unit.
    fn alone(weight: u16) -> Self {
        CpuShare { weight, units: 1, first: None }
    }
}

/// What a CPU does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pick {
    /// The unit to run; `None` to idle.
    pub unit: Option<UnitId>,
    /// The tick at which to pick again at the latest; `None` when nobody else wants this CPU.
    pub deadline: Option<u64>,
}

/// One CPU's queue, with the figures that others read without its lock.
struct Cpu {
    queue: Mutex<Queue>,
    load: AtomicU32,
    waiting: AtomicUsize,
}

impl Cpu {
    /// Works on the queue, and publishes the figures before it unlocks.
    fn with<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = work(&mut queue);
        // A hint for the placement of units: an old value costs balance and nothing else.
        self.load.store(queue.load(), Ordering::Relaxed);
        // Ordered against the idle mask: see `Scheduler::pick`.
        self.waiting.store(queue.waiting(), Ordering::SeqCst);
        result
    }
}

/// The scheduler of a machine.
pub struct Scheduler {
    cpus: Box<[Cpu]>,
    units: Slab,
    /// The CPUs that have picked at least once.
    online: AtomicU64,
    /// The CPUs that found nothing to run, and that nobody has kicked since.
    idle: AtomicU64,
    /// The innermost lock.
    pinned: Option<Mutex<Assignments>>,
}

impl Scheduler {
    /// A scheduler for `cpus` CPUs whose turns last `slice` ticks. A CPU takes part from its first pick on.
    #[expect(clippy::disallowed_methods, reason = "made at boot")]
    pub fn new(policy: Policy, cpus: u16, slice: u64) -> Self {
        let wanting = Arc::new(Wanting::new(MOST_UNITS));
        let cpu = |_| Cpu {
            queue: Mutex::new(Queue::new(slice, Arc::clone(&wanting))),
            load: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
        };
        Scheduler {
            cpus: (0..cpus.min(64)).map(cpu).collect(),
            units: Slab::new(),
            online: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            pinned: (policy == Policy::Pinned).then(|| Mutex::new(Assignments::new(cpus.min(64)))),
        }
    }

    /// Adds a unit, which is offline until [`Scheduler::start`].
    ///
    /// `EINVAL`: no CPU in the affinity. `ENOMEM`: no memory, or 4096 units exist.
    pub fn add(&self, share: CpuShare, affinity: CpuMask, now: u64) -> Result<UnitId, Errno> {
        let home = affinity.and(self.present()).iter().next().ok_or(Errno::EINVAL)?;
        let id = self.units.take(|count| self.reserve(count))?;
        let slot = self.units.get(id).ok_or(Errno::ENOMEM)?;
        slot.set_home(home);
        let mut unit = Unit::offline(id, share, affinity, now);
        if self.pinned.is_none() {
            unit.entry.allowed = affinity;
        }
        // No queue's lock is needed: a free slot is on no queue, and nobody has been told the number yet.
        *slot.unit.lock() = unit;
        Ok(id)
    }

    /// Makes room everywhere for `count` units, so that moving them allocates nothing.
    fn reserve(&self, count: usize) -> Result<(), Errno> {
        for cpu in &self.cpus {
            cpu.queue.lock().reserve(count).map_err(|_| Errno::ENOMEM)?;
        }
        let assignments = self.pinned.iter().map(|pinned| pinned.lock().reserve(count));
        assignments.fold(Ok(()), Result::and).map_err(|_| Errno::ENOMEM)
    }

    /// Forgets a unit that is on no CPU; returns the CPUs to kick. `EBUSY`: it is on one, or its registers are not
    /// saved yet (pause it, and wait until [`Scheduler::running_on`] says `None`). `ENOENT`: no such unit.
    pub fn remove(&self, id: UnitId, now: u64) -> Result<CpuMask, Errno> {
        let successor = self.with_unit(id, now, |unit, queue, _| match unit.stage {
            Stage::Running | Stage::Migrating => Err(Errno::EBUSY),
            Stage::Free | Stage::Ready | Stage::Rest => {
                queue.remove(id);
                unit.stage = Stage::Free;
                Ok(self.release_cpu(id))
            }
        });
        let successor = successor.ok_or(Errno::ENOENT)??;
        // After the unit is off its queue: from here on another `add` may take the slot.
        self.units.give_back(id);
        Ok(self.requeue_successor(successor, now))
    }

    /// The unit has a reason to run. Returns the CPUs to kick: the one it was given, if that idles, runs something
    /// of less merit, or has no timer set.
    #[must_use]
    pub fn wake(&self, id: UnitId, now: u64) -> CpuMask {
        self.requeue_changed(id, now, true, |unit| unit.blocked = false)
    }

    /// The unit, which runs on the calling CPU, wants to sleep; it does from the next pick on, unless it is woken
    /// before. So that no reason to stay awake is missed, first block, then look for one, and wake if there is.
    pub fn block(&self, id: UnitId, now: u64) {
        self.with_unit(id, now, |unit, queue, slot| {
            unit.blocked = true;
            // It runs on the calling CPU, which picks next: the CPU to kick is of no account.
            withdraw(id, unit, queue, slot)
        });
    }

    /// Brings a unit online, if it is not: under the pinned policy it gets a CPU of its own, or waits for one. Returns the
    /// CPUs to kick.
    #[must_use]
    pub fn start(&self, id: UnitId, now: u64) -> CpuMask {
        self.requeue_if(id, now, &|unit| {
            unit.online = true;
            self.claim_cpu(id, unit);
        })
    }

    /// Takes a unit offline: it does not run until it is started, and has no CPU of its own any more. Returns the CPUs to
    /// kick, as [`Scheduler::pause`].
    #[must_use]
    pub fn stop(&self, id: UnitId, now: u64) -> CpuMask {
        let result = self.with_unit(id, now, |unit, queue, slot| {
            unit.online = false;
            (withdraw(id, unit, queue, slot), self.release_cpu(id))
        });
        result.map_or(CpuMask::NONE, |(kicks, successor)| kicks.or(self.requeue_successor(successor, now)))
    }

    /// The unit must not run until it is resumed as often as it was paused; a CPU of its own waits for it meanwhile.
    /// Returns the CPUs to kick; when [`Scheduler::running_on`] then says `None`, its registers are in memory.
    #[must_use]
    pub fn pause(&self, id: UnitId, now: u64) -> CpuMask {
        let result = self.with_unit(id, now, |unit, queue, slot| {
            unit.pauses = unit.pauses.saturating_add(1);
            withdraw(id, unit, queue, slot)
        });
        result.unwrap_or(CpuMask::NONE)
    }

    /// Takes one pause back. Returns the CPUs to kick.
    #[must_use]
    pub fn resume(&self, id: UnitId, now: u64) -> CpuMask {
        self.requeue_if(id, now, &|unit| unit.pauses = unit.pauses.saturating_sub(1))
    }

    /// Changes where the unit may run; returns the CPUs to kick. `EINVAL`: no CPU in the mask. `ENOENT`: no such
    /// unit.
    pub fn set_affinity(&self, id: UnitId, affinity: CpuMask, now: u64) -> Result<CpuMask, Errno> {
        if affinity.and(self.present()).is_empty() {
            return Err(Errno::EINVAL);
        }
        let result = self.with_unit(id, now, |unit, queue, slot| {
            // Its entry on the queue carries the old mask, by which an idle CPU would still take it.
            let kicks = withdraw(id, unit, queue, slot);
            unit.affinity = affinity;
            let mut successor = None;
            if self.pinned.is_none() {
                unit.entry.allowed = affinity;
            } else if unit.entry.allowed.and(affinity).is_empty() {
                successor = self.release_cpu(id);
                self.claim_cpu(id, unit);
            }
            (kicks, successor)
        });
        let (kicks, successor) = result.ok_or(Errno::ENOENT)?;
        // Queued again in a step of its own: it may belong on another CPU's queue now, and two are never locked at
        // once.
        Ok(kicks.or(self.requeue_if(id, now, &|_| {})).or(self.requeue_successor(successor, now)))
    }

    /// Changes the domain's share from `now` on, as far as this unit has a part in it; 0 counts as 1.
    pub fn set_weight(&self, id: UnitId, weight: u16, now: u64) {
        self.with_unit(id, now, |unit, queue, _| {
            unit.set_weight(weight);
            queue.reweigh(id, unit.entry.weight, unit.entry.load, now);
        });
    }

    /// The unit's affinity and its domain's weight.
    pub fn parameters(&self, id: UnitId) -> Option<(CpuMask, u16)> {
        let unit = self.units.get(id)?.unit.lock();
        (unit.stage != Stage::Free).then_some((unit.affinity, unit.entry.weight))
    }

    /// Ticks up to `now` in which `cpu` ran no unit, since its first pick; `None` for a CPU that has not picked yet.
    pub fn idle_time(&self, cpu: CpuId, now: u64) -> Option<u64> {
        let online = CpuMask(self.online.load(Ordering::Relaxed)).contains(cpu);
        self.cpu(cpu).filter(|_| online).map(|cpu| cpu.queue.lock().idle.total(now))
    }

    /// The unit on `cpu` lets the next one run, if any waits there, and loses its credit against that one.
    #[inline]
    pub fn yield_now(&self, cpu: CpuId) {
        if let Some(own) = self.cpu(cpu) {
            own.with(Queue::yield_now);
        }
    }

    /// `cpu`, the calling CPU, has spent the `ticks` up to `now` on an interrupt for `owner`, or for nobody. The unit that runs
    /// does not pay for that, unless it is of the owner's domain: that domain does. The unit could run meanwhile and did not.
    pub fn charge_interrupt(&self, cpu: CpuId, owner: Option<UnitId>, ticks: u64, now: u64) {
        // A copy, as the owner's unit is on any queue, and two units are never locked at once.
        let owner = owner.and_then(|id| self.units.get(id)).map(|slot| slot.unit.lock().entry);
        let Some(own) = self.cpu(cpu) else { return };
        own.with(|queue| {
            let slot = queue.charge_interrupt(owner.as_ref(), ticks, now).and_then(|id| self.units.get(id));
            if let Some(slot) = slot {
                slot.unit.lock().times.take_from_running(ticks);
            }
        });
    }

    /// The CPU that has the unit's registers, from the pick that chose the unit until [`Scheduler::saved`].
    /// Ordered (sequentially consistent) against the pick: who makes an event pending and then finds the unit on no
    /// CPU can rely on the next pick coming after that event.
    pub fn running_on(&self, id: UnitId) -> Option<CpuId> {
        self.units.get(id)?.registers()
    }

    /// How long the unit has been in which state.
    #[inline]
    pub fn times(&self, id: UnitId) -> Option<Times> {
        self.units.get(id).map(|slot| slot.unit.lock().times)
    }

    /// Decides what `cpu`, the calling CPU, does from `now` on. When that is not what it did before, it saves the
    /// registers of the unit before and then calls [`Scheduler::saved`]; until then no CPU is given that unit.
    pub fn pick(&self, cpu: CpuId, now: u64) -> Pick {
        let Some(own) = self.cpu(cpu) else { return Pick::default() };
        let bit = CpuMask::one(cpu).0;
        // Only this CPU sets its bit, once; the others' writes are to other bits of the word.
        if self.online.load(Ordering::Relaxed) & bit == 0 {
            self.online.fetch_or(bit, Ordering::Relaxed);
        }
        let found = own.with(|queue| {
            let running = queue.current().and_then(|id| self.units.get(id));
            let mut running = running.map(|slot| slot.unit.lock());
            let willing = running.as_ref().is_some_and(|unit| unit.may_run_on(cpu));
            if !queue.goes_on(now, willing) {
                if let Some(unit) = &mut running {
                    retire(unit, queue, now);
                }
                // Two units are never locked at once.
                drop(running);
                if let Some(next) = queue.dispatch(now) {
                    self.begin(next, cpu, now);
                }
            }
            queue.pick(now)
        });
        if found.unit.is_some() {
            // The bit is mostly clear, and a load leaves the line to all CPUs that share it.
            if self.idle.load(Ordering::Relaxed) & bit != 0 {
                self.idle.fetch_and(!bit, Ordering::Relaxed);
            }
            return found;
        }
        // First say that this CPU idles, then look for work; who adds work publishes it first and then looks for
        // idle CPUs. One of the two sees the other.
        self.idle.fetch_or(bit, Ordering::SeqCst);
        let Some((mut entry, lag)) = self.steal(cpu, now) else { return found };
        self.idle.fetch_and(!bit, Ordering::Relaxed);
        own.with(|queue| {
            // While it was on no queue its domain's weight may have changed.
            if let Some(slot) = self.units.get(entry.id.unit()) {
                let unit = slot.unit.lock();
                (entry.weight, entry.load) = (unit.entry.weight, unit.entry.load);
            }
            queue.admit(entry, lag, now);
            self.begin(entry.id.unit(), cpu, now);
            queue.pick(now)
        })
    }

    /// `cpu`, the calling CPU, has saved the registers of the unit that it ran before; from now on any CPU may run
    /// it. Returns the CPUs to kick.
    #[must_use]
    pub fn saved(&self, cpu: CpuId, previous: UnitId, now: u64) -> CpuMask {
        self.requeue_when(previous, now, false, |unit, _, slot| {
            // A CPU that moves the unit to another queue holds it in this stage too; then no CPU has its registers.
            let left = unit.stage == Stage::Migrating && slot.registers() == Some(cpu);
            if left {
                slot.set_registers(None);
            }
            left
        })
    }

    fn cpu(&self, cpu: CpuId) -> Option<&Cpu> {
        self.cpus.get(usize::from(cpu.0))
    }

    /// How many CPUs there are to be, those that have not picked yet included.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn present(&self) -> CpuMask {
        CpuMask::below(u16::try_from(self.cpus.len()).unwrap_or(u16::MAX))
    }

    /// Works on a unit under its home queue's lock, and books its time; `None` when there is no such unit.
    fn with_unit<R>(
        &self,
        id: UnitId,
        now: u64,
        work: impl FnOnce(&mut Unit, &mut Queue, &UnitSlot) -> R,
    ) -> Option<R> {
        let slot = self.units.get(id)?;
        let mut work = Some(work);
        // Another round means that another CPU has moved the unit in between: somebody made progress.
        loop {
            let home = slot.home();
            let done = self.cpu(home)?.with(|queue| {
                // The home changes only under the lock of the queue that it names: once it is right under the lock, it stays.
                if slot.home() != home {
                    return None;
                }
                let mut unit = slot.unit.lock();
                let work = work.take().filter(|_| unit.stage != Stage::Free);
                let result = work.map(|work| work(&mut unit, queue, slot));
                unit.account(now);
                Some(result)
            });
            if let Some(result) = done {
                return result;
            }
        }
    }

    /// A unit of this CPU's queue, which is locked, runs from now on.
    #[inline(always)]
    fn begin(&self, id: UnitId, cpu: CpuId, now: u64) {
        let Some(slot) = self.units.get(id) else { return bug!("a unit waited that is none") };
        let mut unit = slot.unit.lock();
        unit.stage = Stage::Running;
        unit.account(now);
        // Before this CPU looks for pending events: `running_on` promises that order.
        slot.set_registers(Some(cpu));
    }
}

/// Takes the running unit off its CPU, into that CPU's hands until its registers are saved.
#[inline]
fn retire(unit: &mut Unit, queue: &mut Queue, now: u64) {
    let Some(retired) = queue.retire(now) else { return bug!("a unit ran that is none") };
    // Off the queue, but with its registers still in this CPU: only `saved` may queue it again.
    unit.stage = Stage::Migrating;
    (unit.entry.ran, unit.used_up) = (retired.ran, retired.used_up);
    unit.account(now);
}

/// Takes a unit that should not wait any longer off its queue; when it runs, its CPU has to be kicked.
#[inline]
fn withdraw(id: UnitId, unit: &mut Unit, queue: &mut Queue, slot: &UnitSlot) -> CpuMask {
    match unit.stage {
        // It stays on its CPU until that one picks: nobody else can take its registers out.
        Stage::Running => return CpuMask::one(slot.home()),
        Stage::Ready => {
            queue.remove(id);
            unit.stage = Stage::Rest;
        }
        Stage::Free | Stage::Rest | Stage::Migrating => {}
    }
    CpuMask::NONE
}
