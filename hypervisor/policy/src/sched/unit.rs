//! What the scheduler knows of one unit, and the slab that holds all units.
//!
//! A unit is found by its index without a lock, because the way from an interrupt to the unit that waits for it must
//! not pass a lock that all CPUs share. Its content is changed only under the lock of the run queue named by
//! [`UnitSlot::home`]; the mutex around it, taken after that lock, is waited for only while somebody reads.

use alloc::{boxed::Box, vec::Vec};

use xenolith_abi::Errno;

use super::queue::{Entry, EntryId};
use super::{CpuMask, CpuShare, UnitId};
use xenolith_core::{
    sync::{Mutex, Once},
    types::CpuId,
};
use xenolith_hw::atomic::{AtomicU16, Ordering};

/// Whether a unit rests, waits on a run queue, runs, or is being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The slot holds no unit.
    Free,
    /// On no queue.
    Rest,
    /// Waits on its home queue.
    Ready,
    /// Runs on its home CPU.
    Running,
    /// In the hands of one CPU, which saves its registers or moves it to another queue. Only that CPU takes it out
    /// of this stage, by what the unit wants then.
    Migrating,
}

/// A unit's state as `VCPUOP_register_runstate_memory_area` reports it (`public/vcpu.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RunState {
    /// On a CPU.
    Running = 0,
    /// Could run, and waits for a CPU.
    Runnable = 1,
    /// Sleeps until it is woken.
    Blocked = 2,
    /// Paused or switched off.
    Offline = 3,
}

/// How long a unit has been in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Its state now.
    pub state: RunState,
    /// Since when, in counter ticks.
    pub since: u64,
    /// Ticks spent in each state up to `since`, indexed by [`RunState`].
    pub spent: [u64; 4],
}

impl Times {
    /// Ticks spent in `state` up to `now`.
    pub fn total(&self, state: RunState, now: u64) -> u64 {
        let booked = self.spent.get(state as usize).copied().unwrap_or(0);
        let open = if state == self.state { now.saturating_sub(self.since) } else { 0 };
        booked.saturating_add(open)
    }

    /// So much of the time in which it has run until now was spent on others: it could have run, and did not.
    pub fn take_from_running(&mut self, ticks: u64) {
        let [_, runnable, ..] = &mut self.spent;
        *runnable = runnable.saturating_add(ticks);
        self.since = self.since.saturating_add(ticks);
    }

    fn enter(&mut self, state: RunState, now: u64) {
        if state == self.state {
            return;
        }
        let total = self.total(self.state, now);
        if let Some(spent) = self.spent.get_mut(self.state as usize) {
            *spent = total;
        }
        // Each CPU reads the clock before it waits for the lock, so that `now` may lie before what another one has
        // booked.
        (self.state, self.since) = (state, self.since.max(now));
    }
}

/// One unit.
#[derive(Debug)]
pub struct Unit {
    pub stage: Stage,
    /// What queues know of it. While it is on one, that one has how long it has run. Where it may run now is
    /// [`Unit::affinity`], or under the pinned policy the CPU that it has, if any.
    pub entry: Entry,
    /// How many units its domain has.
    units: u16,
    /// Where its owner lets it run.
    pub affinity: CpuMask,
    /// Started (PSCI, the toolstack) and not stopped since.
    pub online: bool,
    /// It sleeps, or wants to as soon as its CPU asks.
    pub blocked: bool,
    /// Pauses of it that have not been resumed: calls of `pause` less those of `resume`.
    pub pauses: u32,
    /// It left its CPU because its turn was used up.
    pub used_up: bool,
    pub times: Times,
}

impl Unit {
    const FREE: Unit = Unit {
        stage: Stage::Free,
        entry: Entry::NONE,
        units: 1,
        affinity: CpuMask::NONE,
        online: false,
        blocked: false,
        pauses: 0,
        used_up: false,
        times: Times { state: RunState::Offline, since: 0, spent: [0; 4] },
    };

    /// A unit that has not been started.
    pub fn offline(id: UnitId, share: CpuShare, affinity: CpuMask, now: u64) -> Self {
        let times = Times { since: now, ..Unit::FREE.times };
        let group = EntryId::of(share.first.unwrap_or(id));
        let entry = Entry { id: EntryId::of(id), group, ..Entry::NONE };
        let mut unit = Unit { stage: Stage::Rest, entry, units: share.units, affinity, times, ..Unit::FREE };
        unit.set_weight(share.weight);
        unit
    }

    /// Sets its domain's weight, of which it has its part.
    pub fn set_weight(&mut self, weight: u16) {
        self.entry.weight = weight.max(1);
        self.entry.load = weight.checked_div(self.units).unwrap_or(weight).max(1);
    }

    /// Whether it is runnable: online, neither blocked nor paused, with a CPU that it may run on.
    pub fn wants_to_run(&self) -> bool {
        self.stage != Stage::Free
            && self.online
            && !self.blocked
            && self.pauses == 0
            && !self.entry.allowed.is_empty()
    }

    /// Whether it wants to run, and may on this CPU.
    pub fn may_run_on(&self, cpu: CpuId) -> bool {
        self.wants_to_run() && self.entry.allowed.contains(cpu)
    }

    /// Books the time up to `now` and the state that follows. A blocked unit counts as blocked even while paused, as
    /// on Xen.
    #[inline]
    pub fn account(&mut self, now: u64) {
        let state = if self.stage == Stage::Running {
            RunState::Running
        } else if self.blocked {
            RunState::Blocked
        } else if !self.online || self.pauses > 0 {
            RunState::Offline
        } else {
            RunState::Runnable
        };
        self.times.enter(state, now);
    }
}

/// Says in [`UnitSlot::registers`] that no CPU holds them.
const NOWHERE: u16 = u16::MAX;

/// A unit's place in the slab.
#[derive(Debug)]
pub struct UnitSlot {
    home: AtomicU16,
    registers: AtomicU16,
    pub unit: Mutex<Unit>,
}

impl UnitSlot {
    fn free() -> Self {
        UnitSlot { home: AtomicU16::new(0), registers: AtomicU16::new(NOWHERE), unit: Mutex::new(Unit::FREE) }
    }

    /// The CPU whose queue's lock covers the unit.
    pub fn home(&self) -> CpuId {
        // With the release in `set_home`: who finds the new home sees what was done to the unit under the old queue's
        // lock.
        CpuId(self.home.load(Ordering::Acquire))
    }

    /// Moves the unit under another queue's lock; the caller holds the old one.
    pub fn set_home(&self, cpu: CpuId) {
        self.home.store(cpu.0, Ordering::Release);
    }

    /// The CPU that runs the unit or has not saved its registers yet.
    pub fn registers(&self) -> Option<CpuId> {
        Some(self.registers.load(Ordering::SeqCst)).filter(|&cpu| cpu != NOWHERE).map(CpuId)
    }

    /// Says which CPU has the unit's registers, in the order that [`super::Scheduler::running_on`] promises.
    pub fn set_registers(&self, cpu: Option<CpuId>) {
        self.registers.store(cpu.map_or(NOWHERE, |cpu| cpu.0), Ordering::SeqCst);
    }
}

/// Units in a chunk of the slab: one bit each in a word.
const CHUNK: u32 = u64::BITS;
/// Chunks, hence 4096 units.
const CHUNKS: usize = 64;
/// The most units that there can be.
pub const MOST_UNITS: usize = CHUNKS * CHUNK as usize;

/// All units. It grows by chunks and never shrinks, so that a slot's address stays.
pub struct Slab {
    chunks: [Once<Box<[UnitSlot; CHUNK as usize]>>; CHUNKS],
    used: Mutex<[u64; CHUNKS]>,
}

impl Slab {
    pub fn new() -> Self {
        Slab { chunks: [const { Once::new() }; CHUNKS], used: Mutex::new([0; CHUNKS]) }
    }

    pub fn get(&self, id: UnitId) -> Option<&UnitSlot> {
        let chunk = self.chunks.get(usize::try_from(id.0 / CHUNK).ok()?)?.get()?;
        chunk.get(usize::try_from(id.0 % CHUNK).ok()?)
    }

    /// Takes a free slot; `prepare` learns how many are used then, and may refuse.
    pub fn take(&self, prepare: impl FnOnce(usize) -> Result<(), Errno>) -> Result<UnitId, Errno> {
        let mut used = self.used.lock();
        let count: u32 = used.iter().map(|word| word.count_ones()).sum();
        // Under the lock: of two that take at the same time, each must count the other, or the queues lack room for
        // one.
        prepare(usize::try_from(count).map_err(|_| Errno::ENOMEM)?.saturating_add(1))?;
        let free = (0..).zip(used.iter_mut()).zip(&self.chunks).find(|((_, word), _)| **word != u64::MAX);
        let ((number, word), chunk) = free.ok_or(Errno::ENOMEM)?;
        chunk.try_call_once(|| {
            let mut slots = Vec::new();
            slots.try_reserve_exact(CHUNK as usize).map_err(|_| Errno::ENOMEM)?;
            slots.resize_with(CHUNK as usize, UnitSlot::free);
            slots.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)
        })?;
        // Only now: a chunk that could not be made leaves its slots free.
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        Ok(UnitId(number * CHUNK + bit))
    }

    /// Gives a slot back; its unit is [`Stage::Free`].
    pub fn give_back(&self, id: UnitId) {
        let number = usize::try_from(id.0 / CHUNK).unwrap_or(CHUNKS);
        if let Some(word) = self.used.lock().get_mut(number) {
            *word &= !(1 << (id.0 % CHUNK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_end_at_the_limit() {
        let slab = Slab::new();
        let all: Vec<_> = (0..4096).map(|_| slab.take(|_| Ok(())).unwrap()).collect();
        assert_eq!(all.last(), Some(&UnitId(4095)));
        assert!(slab.take(|_| Ok(())).is_err());
        slab.give_back(UnitId(77));
        assert_eq!(slab.take(|used| (used == 4096).then_some(()).ok_or(Errno::ENOMEM)), Ok(UnitId(77)));
        assert!(slab.get(UnitId(4096)).is_none());
    }

    #[test]
    fn every_tick_is_in_one_state() {
        let share = CpuShare { weight: 256, units: 1, first: None };
        let mut unit = Unit::offline(UnitId(0), share, CpuMask::ALL, 100);
        unit.online = true;
        unit.account(110);
        unit.stage = Stage::Running;
        unit.account(130);
        unit.stage = Stage::Rest;
        unit.blocked = true;
        unit.account(170);
        assert_eq!(unit.times, Times { state: RunState::Blocked, since: 170, spent: [40, 20, 0, 10] });
        assert_eq!(unit.times.total(RunState::Blocked, 200), 30);
        assert_eq!(unit.times.total(RunState::Running, 200), 40);
    }
}
