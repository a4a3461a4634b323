//! Where a unit goes that has become runnable, or that its CPU has given up; and how an idle CPU finds work.

use super::{CpuMask, Scheduler, UnitId};
use super::{
    queue::{Entry, Lag, Queue},
    unit::{Stage, Unit, UnitSlot},
};
use xenolith_core::types::CpuId;
use xenolith_hw::atomic::Ordering;

/// A unit that its holder brings to the queue where it belongs: what is known from one step to the next.
struct Placement {
    /// The unit was woken, and may preempt what runs on its CPU.
    boost: bool,
    /// The CPUs to kick.
    kicks: CpuMask,
    /// Its lag on the queue that it has left, until it arrives on the next one.
    lag: Option<Lag>,
}

/// What one step of a [`Placement`] came to.
enum Step {
    /// The unit does not want to run now, or is not the caller's to move.
    Rests,
    /// It has left for another queue, and the next step is done there.
    Moves,
    /// It waits on its home queue, and not alone if there are CPUs `elsewhere` that may take it, or another, off.
    Waits { elsewhere: CpuMask, home: CpuId, kick: bool },
}

impl Scheduler {
    /// Changes a unit, and if it was at rest and now wants to run, queues it. Returns the CPUs to kick.
    ///
    /// One function for all callers: what is changed is little beside what follows. Only waking has a copy of its own.
    #[inline(never)]
    pub(super) fn requeue_if(&self, id: UnitId, now: u64, change: &dyn Fn(&mut Unit)) -> CpuMask {
        self.requeue_changed(id, now, false, change)
    }

    /// The same. `boost`: the unit has been woken.
    #[inline(always)]
    pub(super) fn requeue_changed(
        &self,
        id: UnitId,
        now: u64,
        boost: bool,
        change: impl FnOnce(&mut Unit),
    ) -> CpuMask {
        self.requeue_when(id, now, boost, |unit, queue, _| {
            change(unit);
            let rises = unit.stage == Stage::Rest && unit.wants_to_run();
            if rises {
                unit.stage = Stage::Migrating;
                unit.used_up = false;
                // Whatever kept it away: it has no claim on the time that others had meanwhile.
                queue.charge(now);
                queue.awaken(&mut unit.entry);
            }
            rises
        })
    }

    /// Puts a unit where it belongs by now, on a queue or to rest, if `held` says that the caller holds it.
    pub(super) fn requeue_when(
        &self,
        id: UnitId,
        now: u64,
        boost: bool,
        held: impl FnOnce(&mut Unit, &mut Queue, &UnitSlot) -> bool,
    ) -> CpuMask {
        let mut placement = Placement { boost, kicks: CpuMask::NONE, lag: None };
        let mut step = self.with_unit(id, now, |unit, queue, slot| match held(unit, queue, slot) {
            true if unit.wants_to_run() => self.step(&mut placement, now, unit, queue, slot),
            // Most that leave their CPU do so to sleep, and need no more than this.
            true => rest(unit),
            false => Step::Rests,
        });
        // A further round after the second needs a change of this unit's affinity between the two.
        while matches!(step, Some(Step::Moves)) {
            step = self
                .with_unit(id, now, |unit, queue, slot| self.step(&mut placement, now, unit, queue, slot));
        }
        let Some(Step::Waits { elsewhere, home, kick }) = step else { return placement.kicks };
        // One that was claimed comes, and takes the unit. Others that become idle come by themselves.
        if placement.kicks.without(home).is_empty() {
            let claimed = self.claim_idle(elsewhere.without(home), home);
            placement.kicks = placement.kicks.or(claimed.map_or(CpuMask::NONE, CpuMask::one));
        }
        if kick { placement.kicks.or(CpuMask::one(home)) } else { placement.kicks }
    }

    /// One step of a unit that the caller holds: to rest, onto its home queue, or off to another one.
    fn step(
        &self,
        placement: &mut Placement,
        now: u64,
        unit: &mut Unit,
        queue: &mut Queue,
        slot: &UnitSlot,
    ) -> Step {
        let home = slot.home();
        let arrived = placement.lag.take();
        if let Some(lag) = arrived {
            queue.arrive(&mut unit.entry, lag);
            // The caller has looked before the first step.
            if !unit.wants_to_run() {
                return rest(unit);
            }
        }
        // Where it has been sent it stays: loads change all the time, and a choice made anew at each queue could send
        // it round for ever.
        let target = if arrived.is_some() && unit.entry.allowed.contains(home) {
            home
        } else {
            let (target, claimed) = self.target(home, unit, placement.boost);
            placement.kicks = placement.kicks.or(claimed);
            target
        };
        if target == home {
            return wait(unit, queue, slot, now, placement.boost);
        }
        // Virtual times of two queues do not compare: what it owes, or is owed, goes along as a difference.
        queue.charge(now);
        placement.lag = Some(queue.leave(&unit.entry));
        // Last, because from here on the lock that is held does not cover the unit. Its stage keeps everybody else from
        // moving it until the other lock is taken.
        slot.set_home(target);
        Step::Moves
    }

    /// The CPU for a unit that wants to run, and the CPUs that have to be kicked in any case, because they were
    /// taken out of the idle mask.
    fn target(&self, home: CpuId, unit: &Unit, woken: bool) -> (CpuId, CpuMask) {
        let online = unit.entry.allowed.and(CpuMask(self.online.load(Ordering::Relaxed)));
        // While none of its CPUs has come up, it waits on the queue of one that will.
        let candidates = if online.is_empty() { unit.entry.allowed.and(self.present()) } else { online };
        if let Some(cpu) = self.claim_idle(candidates, home) {
            return (cpu, CpuMask::one(cpu));
        }
        // A wake-up moves a unit only to an idle CPU. The loads are evened out by those whose turn ends, which is
        // seldom, and not by each short sleep.
        if woken && candidates.contains(home) {
            return (home, CpuMask::NONE);
        }
        // Where loads are equal, a unit that used up its turn goes on to the next CPU: three units on two CPUs then
        // get the same share each. Others stay.
        let load = |cpu: CpuId| self.cpu(cpu).map_or(u32::MAX, |cpu| cpu.load.load(Ordering::Relaxed));
        let others = self.others(home).filter(|&cpu| candidates.contains(cpu));
        let other = others.min_by_key(|&cpu| load(cpu));
        // Neither load counts the unit itself, which is on no queue now.
        let stay = candidates.contains(home)
            && other.is_none_or(|other| load(home) < load(other) + u32::from(!unit.used_up));
        (if stay { home } else { other.unwrap_or(home) }, CpuMask::NONE)
    }

    /// The other CPUs, the next one first.
    fn others(&self, cpu: CpuId) -> impl Iterator<Item = CpuId> {
        let count = u16::try_from(self.cpus.len()).unwrap_or(u16::MAX);
        (cpu.0.saturating_add(1)..count).chain(0..cpu.0.min(count)).map(CpuId)
    }

    /// Takes an idle CPU out of the idle mask, `preferred` if it is idle. The caller has it kicked.
    #[inline]
    fn claim_idle(&self, among: CpuMask, preferred: CpuId) -> Option<CpuId> {
        let idle = among.and(CpuMask(self.idle.load(Ordering::SeqCst)));
        let rest = idle.iter().filter(|&cpu| cpu != preferred);
        let claim = |&cpu: &CpuId| {
            let bit = CpuMask::one(cpu).0;
            // Of two that place units at once only one finds the bit set: both would otherwise send theirs to the same
            // idle CPU.
            self.idle.fetch_and(!bit, Ordering::SeqCst) & bit != 0
        };
        Some(preferred).filter(|&cpu| idle.contains(cpu)).into_iter().chain(rest).find(claim)
    }

    /// Takes a waiting unit from another CPU to run it on `cpu`, whose queue is empty; with it comes what it owes.
    ///
    /// A unit that waits alone on a CPU which runs nothing is left there: who put it there has that CPU kicked, so it is
    /// about to run it, and the unit ran there before, as a rule. Of two, one is taken; who adds the second looks for idle
    /// CPUs ([`Scheduler::requeue_when`]). A CPU that has never picked may not be there to be kicked.
    pub(super) fn steal(&self, cpu: CpuId, now: u64) -> Option<(Entry, Lag)> {
        let online = CpuMask(self.online.load(Ordering::Relaxed));
        self.others(cpu).find_map(|other| {
            let victim = self.cpu(other)?;
            // Without the lock, or each CPU that idles would take all locks in turn. Ordered against the idle mask: see
            // `pick`.
            if victim.waiting.load(Ordering::SeqCst) == 0 {
                return None;
            }
            victim.with(|queue| {
                if queue.current().is_none() && queue.waiting() < 2 && online.contains(other) {
                    return None;
                }
                queue.charge(now);
                let entry = queue.take_for(cpu)?;
                let slot = self.units.get(entry.id.unit())?;
                let mut unit = slot.unit.lock();
                // It runs from here on as far as others are concerned: who pauses it now kicks `cpu`.
                unit.stage = Stage::Running;
                unit.account(now);
                slot.set_registers(Some(cpu));
                slot.set_home(cpu);
                Some((entry, queue.leave(&entry)))
            })
        })
    }

    /// Pinned: gives the unit a CPU if it is online and one is free.
    pub(super) fn claim_cpu(&self, id: UnitId, unit: &mut Unit) {
        if let Some(pinned) = self.pinned.as_ref().filter(|_| unit.online) {
            // The CPU that it had before it was stopped, if it had one.
            let preferred = unit.entry.allowed.iter().next().unwrap_or_default();
            let cpu = pinned.lock().claim(id, unit.affinity, preferred);
            unit.entry.allowed = cpu.map_or(CpuMask::NONE, CpuMask::one);
        }
    }

    /// Pinned: takes the unit's CPU; returns who gets it, for [`Scheduler::requeue_successor`] once no lock is held.
    pub(super) fn release_cpu(&self, id: UnitId) -> Option<UnitId> {
        self.pinned.as_ref().and_then(|pinned| pinned.lock().release(id))
    }

    /// Pinned: a unit that waited for a CPU has got one, unless it went offline again meanwhile.
    pub(super) fn requeue_successor(&self, successor: Option<UnitId>, now: u64) -> CpuMask {
        let requeue = |id| self.requeue_if(id, now, &|unit| self.claim_cpu(id, unit));
        successor.map_or(CpuMask::NONE, requeue)
    }
}

/// Lets a held unit rest.
fn rest(unit: &mut Unit) -> Step {
    unit.stage = Stage::Rest;
    Step::Rests
}

/// Puts a held unit on its home queue.
fn wait(unit: &mut Unit, queue: &mut Queue, slot: &UnitSlot, now: u64, boost: bool) -> Step {
    unit.stage = Stage::Ready;
    let kick = queue.insert(&unit.entry, now, boost);
    let elsewhere = match (queue.current(), queue.waiting()) {
        (None, 0 | 1) => CpuMask::NONE,
        // Those who came before had their chance.
        (Some(_), _) => unit.entry.allowed,
        // Which of them this CPU takes is open.
        (None, _) => queue.allowed(),
    };
    Step::Waits { elsewhere, home: slot.home(), kick }
}
