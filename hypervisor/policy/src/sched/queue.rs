//! One CPU's run queue: who runs here, who waits here, and whose turn it is.
//!
//! Each unit has a virtual time, which advances while it runs, the slower the greater its weight; the unit with the
//! least virtual time is next. The queue's floor is the virtual time that everybody here has reached. It never goes
//! back, and that is what bounds every wait: a newcomer is placed at the floor or at most half a slice of its own
//! before it, so it can overtake those who wait only until it has used that half slice.

use alloc::{collections::TryReserveError, vec::Vec};

use super::idle::IdleTime;
use super::{CpuMask, Pick, UnitId};
use xenolith_core::bug;
use xenolith_core::types::CpuId;

/// Virtual ticks that one tick costs a unit of weight 1.
const SCALE: u64 = 1 << 16;
/// The longest run that is charged at once, in ticks. A unit runs that long only when nobody waits, and then the
/// charge has no effect but to move the floor; the limit keeps the arithmetic inside 64 bits.
const LONGEST: u64 = 1 << 32;

/// Virtual time in virtual ticks. It wraps; only differences between times on one queue mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vtime(u64);

impl Vtime {
    /// Where every queue starts.
    pub const ZERO: Vtime = Vtime(0);

    /// How far `self` is ahead of `other`; negative when it is behind.
    pub fn ahead_of(self, other: Vtime) -> i64 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// The time `by` virtual ticks later, or earlier when negative.
    pub fn moved(self, by: i64) -> Vtime {
        Vtime(self.0.wrapping_add_signed(by))
    }

    fn max(self, other: Vtime) -> Vtime {
        if self.ahead_of(other) >= 0 { self } else { other }
    }
}

/// What `ticks` of running cost a unit of this weight, in virtual ticks: below 2^48.
pub fn cost(ticks: u64, weight: u16) -> i64 {
    (ticks.min(LONGEST) * SCALE / u64::from(weight.max(1))).cast_signed()
}

/// A unit as its queue sees it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The unit.
    pub id: UnitId,
    /// Its virtual time on this queue.
    pub vtime: Vtime,
    /// Its share of the CPU.
    pub weight: u16,
    /// Where it may run.
    pub allowed: CpuMask,
}

/// The unit that runs.
#[derive(Clone, Copy, Debug)]
struct Current {
    entry: Entry,
    /// Up to when its run time has been charged.
    charged: u64,
    /// When its turn ends, if anybody waits by then.
    slice_end: u64,
}

/// Which unit runs next on a queue's CPU.
#[derive(Debug)]
pub enum Turn {
    /// The running unit goes on.
    Same,
    /// This unit, which has left the waiting list, takes over.
    Next(Entry),
    /// Nobody on this queue can run.
    Nobody,
}

/// A run queue.
#[derive(Debug)]
pub struct Queue {
    slice: u64,
    floor: Vtime,
    current: Option<Current>,
    /// Those who wait, the next one last; of two with the same virtual time, the one that came first is later in
    /// the list.
    ready: Vec<Entry>,
    /// A unit of more merit than the running one has come.
    preempt: bool,
    /// The running unit asked to go behind the next one.
    yielded: bool,
    /// The weights of all who run or wait here: 4096 units at most, so the sum has room.
    load: u32,
    /// How long this CPU has had nothing to run.
    pub idle: IdleTime,
}

impl Queue {
    /// An idle queue whose turns last `slice` ticks.
    pub fn new(slice: u64) -> Self {
        Queue {
            slice: slice.clamp(1, LONGEST),
            floor: Vtime::default(),
            current: None,
            ready: Vec::new(),
            preempt: false,
            yielded: false,
            load: 0,
            idle: IdleTime::default(),
        }
    }

    /// What the CPU does from `now` on, which is booked.
    pub fn pick(&mut self, now: u64) -> Pick {
        let unit = self.current();
        self.idle.book(unit.is_none(), now);
        Pick { unit, deadline: self.deadline() }
    }

    /// Makes room for `units` waiting units, so that [`Queue::insert`] never allocates.
    pub fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.ready.try_reserve(units.saturating_sub(self.ready.len()))
    }

    /// The running unit.
    pub fn current(&self) -> Option<UnitId> {
        self.current.map(|current| current.entry.id)
    }

    /// Number of units that wait, the running one not among them.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// The CPUs that at least one of the waiting units may run on.
    pub fn allowed(&self) -> CpuMask {
        self.ready.iter().fold(CpuMask::NONE, |mask, entry| mask.or(entry.allowed))
    }

    /// The weights of all who run or wait here.
    pub fn load(&self) -> u32 {
        // The sum is too dear for the machine, where it is kept as units come and go.
        if cfg!(debug_assertions) && self.load != self.entries().map(|entry| u32::from(entry.weight)).sum() {
            bug!("a run queue's load is not that of its units");
        }
        self.load
    }

    /// When the running unit's turn ends; `None` while nobody waits for it, so that no timer is needed.
    pub fn deadline(&self) -> Option<u64> {
        self.current.filter(|_| !self.ready.is_empty()).map(|current| current.slice_end)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ready.iter().chain(self.current.as_ref().map(|current| &current.entry))
    }

    /// The mean virtual time of those who run or wait here, by weight.
    #[inline]
    fn mean(&self) -> Vtime {
        // A virtual time may be 2^63 ahead in theory, and is multiplied by 16 bits of weight for each of many units.
        let weights = i128::from(self.load()).max(1);
        let ahead = |entry: &Entry| i128::from(entry.vtime.ahead_of(self.floor)) * i128::from(entry.weight);
        let sum: i128 = self.entries().map(ahead).sum();
        self.floor.moved(i64::try_from(sum / weights).unwrap_or(0))
    }

    /// How far a unit that leaves with this virtual time is ahead of those it leaves behind; negative when it has a
    /// claim on them. At most one slice of a unit of this weight in either direction.
    pub fn lag(&self, vtime: Vtime, weight: u16) -> i64 {
        let bound = cost(self.slice, weight);
        vtime.ahead_of(self.mean()).clamp(-bound, bound)
    }

    /// Where a unit stands that comes from another queue with this lag; never before the floor, or units that
    /// change queues could overtake for ever.
    pub fn arrival(&self, lag: i64) -> Vtime {
        self.mean().moved(lag).max(self.floor)
    }

    /// Where a unit stands that was away since `vtime` on this queue: what it was entitled to meanwhile is credited, up
    /// to half a slice of running.
    pub fn awakening(&self, vtime: Vtime, weight: u16) -> Vtime {
        let bound = cost(self.slice, weight);
        let latest = self.floor.moved(bound);
        // Also where the difference has wrapped: a unit that was away for 2^63 virtual ticks reads as one that is far
        // ahead, and waits no longer than this.
        let vtime = if vtime.ahead_of(latest) > 0 { latest } else { vtime };
        vtime.max(self.floor.moved(-(bound / 2)))
    }

    /// Adds a waiting unit. Whether the CPU has to reconsider: it idles, its timer is not set yet, or (with `boost`)
    /// the newcomer is so far behind the running unit that it should not wait for the end of the turn.
    #[must_use]
    pub fn insert(&mut self, entry: Entry, now: u64, boost: bool) -> bool {
        // The running unit's virtual time is compared with the newcomer's below: it has to be that of `now`.
        self.charge(now);
        // The next one stands last, where it is taken off without moving the others.
        let place = self.ready.partition_point(|other| other.vtime.ahead_of(entry.vtime) > 0);
        self.ready.insert(place, entry);
        self.load = self.load.wrapping_add(entry.weight.into());
        let Some(current) = &self.current else { return true };
        // Without a margin, two units that wake each other by turns would change at each wake-up.
        let margin = cost(self.slice / 8, entry.weight);
        if boost && current.entry.vtime.ahead_of(entry.vtime) > margin {
            self.preempt = true;
            return true;
        }
        // The first to wait has the timer set; for those that follow it is set already (`deadline`).
        self.ready.len() == 1
    }

    /// Takes a waiting unit off the queue.
    pub fn remove(&mut self, id: UnitId) -> Option<Entry> {
        let place = self.ready.iter().position(|entry| entry.id == id)?;
        Some(self.take(place))
    }

    /// Takes the first waiting unit that may run on `cpu`.
    pub fn take_for(&mut self, cpu: CpuId) -> Option<Entry> {
        // From the end, where the next one stands.
        let place = self.ready.iter().rposition(|entry| entry.allowed.contains(cpu))?;
        Some(self.take(place))
    }

    #[inline]
    fn take(&mut self, place: usize) -> Entry {
        let entry = self.ready.remove(place);
        self.load = self.load.wrapping_sub(entry.weight.into());
        entry
    }

    /// Changes the weight of a unit that runs or waits here, from `now` on.
    pub fn reweigh(&mut self, id: UnitId, weight: u16, now: u64) {
        // What it ran so far, it ran at the old weight.
        self.charge(now);
        let running = self.current.as_mut().map(|current| &mut current.entry);
        for entry in self.ready.iter_mut().chain(running).filter(|entry| entry.id == id) {
            self.load = self.load.wrapping_sub(entry.weight.into()).wrapping_add(weight.into());
            entry.weight = weight;
        }
    }

    /// The running unit goes behind the next one that waits, if there is one.
    pub fn yield_now(&mut self) {
        self.yielded = true;
    }

    /// Charges the running unit for the time up to `now`.
    #[inline]
    pub fn charge(&mut self, now: u64) {
        if let Some(current) = &mut self.current {
            // Often this is not the first look at a tick.
            if let Some(ticks) = now.checked_sub(current.charged).filter(|&ticks| ticks > 0) {
                current.entry.vtime = current.entry.vtime.moved(cost(ticks, current.entry.weight));
                current.charged = now;
            }
        }
        let running = self.current.map(|current| current.entry.vtime);
        let first = self.ready.last().map(|entry| entry.vtime);
        let least = match (running, first) {
            (Some(running), Some(first)) if first.ahead_of(running) < 0 => first,
            (Some(running), _) => running,
            (None, Some(first)) => first,
            (None, None) => return,
        };
        self.floor = self.floor.max(least);
    }

    /// Decides whose turn it is; `willing` says whether the running unit can and may go on.
    pub fn turn(&mut self, now: u64, willing: bool) -> Turn {
        self.charge(now);
        // Both flags are about the unit that runs now: they must not outlive this decision and hit the next one.
        let preempt = core::mem::take(&mut self.preempt);
        let yielded = core::mem::take(&mut self.yielded);
        let Some(first) = self.ready.last().copied() else {
            return if willing && self.current.is_some() { Turn::Same } else { Turn::Nobody };
        };
        if let Some(current) = self.current.as_mut().filter(|_| willing) {
            if yielded {
                // Level with the next one and not behind all: who yields in a loop would else never come back.
                current.entry.vtime = current.entry.vtime.max(first.vtime);
            }
            let used_up = now >= current.slice_end;
            let behind = current.entry.vtime.ahead_of(first.vtime) >= 0;
            if !behind || !(used_up || preempt || yielded) {
                if used_up {
                    // It goes on with a new turn; a deadline in the past would fire the timer at once, again and again.
                    current.slice_end = now.saturating_add(self.slice);
                }
                return Turn::Same;
            }
        }
        let Some(next) = self.ready.pop() else {
            bug!("a unit waits and does not");
            return Turn::Nobody;
        };
        self.load = self.load.wrapping_sub(next.weight.into());
        Turn::Next(next)
    }

    /// Takes the running unit off the CPU. The flag says that it used up its turn.
    pub fn retire(&mut self, now: u64) -> Option<(Entry, bool)> {
        self.charge(now);
        let current = self.current.take()?;
        self.load = self.load.wrapping_sub(current.entry.weight.into());
        Some((current.entry, now >= current.slice_end))
    }

    /// Lets a unit run.
    pub fn dispatch(&mut self, entry: Entry, now: u64) {
        let slice_end = now.saturating_add(self.slice);
        // Whoever ran before has been retired.
        self.current = Some(Current { entry, charged: now, slice_end });
        self.load = self.load.wrapping_add(entry.weight.into());
        // There is nothing to charge yet: this moves the floor, which depends on who runs.
        self.charge(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: u64 = 1000;

    fn entry(queue: &Queue, id: u32, weight: u16) -> Entry {
        Entry { id: UnitId(id), vtime: queue.floor, weight, allowed: CpuMask::ALL }
    }

    fn run(queue: &mut Queue, now: u64) -> Option<UnitId> {
        if let Turn::Next(next) = queue.turn(now, true) {
            if let Some((previous, _)) = queue.retire(now) {
                let _ = queue.insert(previous, now, false);
            }
            queue.dispatch(next, now);
        }
        queue.current()
    }

    #[test]
    fn shares_follow_weights() {
        let weights = [1u16, 64, 256, 256, 1024, u16::MAX];
        let mut queue = Queue::new(SLICE);
        for (id, &weight) in (0..).zip(&weights) {
            let _ = queue.insert(entry(&queue, id, weight), 0, false);
        }
        let mut shares = [0u64; 6];
        let total = 140_000;
        for round in 0..total {
            shares[run(&mut queue, round * SLICE).unwrap().0 as usize] += 1;
        }
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (share, weight) in shares.into_iter().zip(weights) {
            let due = total * u64::from(weight) / sum;
            assert!(share.abs_diff(due) <= 4, "weight {weight}: {share} slices, {due} due");
        }
    }

    #[test]
    fn a_lone_unit_needs_no_timer_and_the_second_one_sets_it() {
        let mut queue = Queue::new(SLICE);
        assert!(queue.insert(entry(&queue, 0, 256), 0, false));
        assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
        assert_eq!(queue.deadline(), None);
        assert!(queue.insert(entry(&queue, 1, 256), 10, false));
        assert!(!queue.insert(entry(&queue, 2, 256), 10, false));
        assert_eq!(queue.deadline(), Some(SLICE));
    }

    #[test]
    fn sleepers_are_credited_half_a_slice_at_most() {
        let mut queue = Queue::new(SLICE);
        let asleep = queue.floor;
        let _ = queue.insert(entry(&queue, 0, 256), 0, false);
        run(&mut queue, 0);
        queue.charge(1_000_000);
        let vtime = queue.awakening(asleep, 256);
        assert_eq!(queue.lag(vtime, 256), -cost(SLICE, 256) / 2);
        assert!(queue.insert(Entry { vtime, ..entry(&queue, 1, 256) }, 1_000_000, true));
        assert_eq!(run(&mut queue, 1_000_000), Some(UnitId(1)));
    }

    #[test]
    fn virtual_time_wraps() {
        let mut queue = Queue::new(SLICE);
        queue.floor = Vtime(u64::MAX - 5);
        for id in 0..3 {
            let _ = queue.insert(entry(&queue, id, 256), 0, false);
        }
        let order: Vec<_> = (0..6).map(|round| run(&mut queue, round * SLICE).unwrap().0).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn yielding_lets_the_next_one_run_once() {
        let mut queue = Queue::new(SLICE);
        for id in 0..2 {
            let _ = queue.insert(entry(&queue, id, 256), 0, false);
        }
        assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
        queue.yield_now();
        assert_eq!(run(&mut queue, 1), Some(UnitId(1)));
        assert_eq!(run(&mut queue, 2), Some(UnitId(1)));
    }

    #[test]
    fn a_run_of_any_length_can_be_charged() {
        let mut queue = Queue::new(u64::MAX);
        let _ = queue.insert(entry(&queue, 0, 0), 0, false);
        run(&mut queue, 0);
        queue.charge(u64::MAX);
        queue.charge(0);
        assert_eq!(run(&mut queue, u64::MAX), Some(UnitId(0)));
    }
}
