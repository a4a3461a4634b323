//! One CPU's run queue: who runs here, who waits here, and whose turn it is.
//!
//! CPU time is shared in two steps: among the domains by weight, and each domain's share evenly among those of its units
//! that want to run here. A domain's weight counts on a queue for the part of its units that is there, of all that want to run
//! anywhere. So what a domain gets does not grow with its number of vCPUs.
//!
//! Each domain has a virtual time on each queue, which advances while one of its units runs there, the slower the greater
//! what its weight is worth there; the domain with the least virtual time is next. The queue's floor is the virtual time that
//! everybody here has reached. It never goes back, and that is what bounds every wait: a domain that comes is placed at the
//! floor or at most half a slice of its own before it, so it can overtake those who wait only until it has used that half
//! slice. A domain's virtual time stays when its last unit leaves: units that take turns in sleeping get no more than one that
//! computes.
//!
//! Within a domain the unit is next that has run least, and the same rule bounds what a unit is credited that comes.

mod credit;
#[cfg(test)]
mod tests;
mod wanting;

use alloc::{collections::TryReserveError, sync::Arc, vec::Vec};

use super::idle::IdleTime;
use super::vtime::{LONGEST, Vtime, cost, cost_of_part};
use super::{CpuMask, Pick, UnitId};
use xenolith_core::bug;
use xenolith_core::types::CpuId;

pub use wanting::Wanting;

/// A unit as its queue sees it. It is copied at each turn, and so has no more than it needs.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The unit.
    pub id: EntryId,
    /// Its domain: the number of its first unit.
    pub group: EntryId,
    /// Its domain's share of the CPU.
    pub weight: u16,
    /// Its part of the queue's load.
    pub load: u16,
    /// How long it has run, in ticks, compared with others of its domain.
    pub ran: u64,
    /// Where it may run.
    pub allowed: CpuMask,
}

impl Entry {
    /// That of no unit.
    pub const NONE: Entry =
        Entry { id: EntryId(0), group: EntryId(0), weight: 1, load: 1, ran: 0, allowed: CpuMask::NONE };
}

/// A unit that runs, or the one of its domain that is next; with it, the domain's virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    vtime: Vtime,
    entry: Entry,
}

/// A unit's number, in less room: there are 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(u16);

impl EntryId {
    /// That of a unit.
    pub fn of(id: UnitId) -> Self {
        EntryId(u16::try_from(id.0).unwrap_or(u16::MAX))
    }

    /// The unit.
    pub fn unit(self) -> UnitId {
        UnitId(self.0.into())
    }
}

/// A unit that has left its CPU.
pub struct Retired {
    /// How long it has run, as [`Entry::ran`].
    pub ran: u64,
    /// It used up its turn.
    pub used_up: bool,
}

/// What a queue keeps of a domain, also while no unit of it is here.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// Its virtual time, except while it runs: then [`Current`] has it.
    vtime: Vtime,
    /// What all its units here have run, or had when the last one left.
    floor: u64,
    /// How many of its units run or wait here.
    units: u16,
}

/// What a queue keeps of all domains, by the number of their first unit.
#[derive(Debug, Default)]
struct Groups(Vec<Group>);

impl Groups {
    /// That of one; `reserve` has made room for each.
    #[inline(always)]
    fn of(&mut self, number: EntryId) -> Option<&mut Group> {
        self.0.get_mut(usize::from(number.0))
    }
}

/// What a unit owes, or is owed, on the queue that it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// Its domain, to others ([`Queue::lag`]); `None` if units of it stay there.
    group: Option<i64>,
    /// The unit itself, to others of its domain, in ticks.
    unit: i64,
}

/// The unit that runs.
#[derive(Clone, Copy, Debug)]
struct Current {
    head: Head,
    /// Up to when its run time has been charged.
    charged: u64,
    /// When its turn ends, if anybody waits by then.
    slice_end: u64,
}

/// A run queue.
#[derive(Debug)]
pub struct Queue {
    slice: u64,
    floor: Vtime,
    current: Option<Current>,
    /// Of each domain that waits and does not run, the unit that is next. The next domain is the last; of two with the same
    /// virtual time, the one that came first is later in the list.
    heads: Vec<Head>,
    /// The other units that wait, by domain; of each, the next one is the last.
    behind: Vec<Entry>,
    groups: Groups,
    /// How many units of each domain are on any queue.
    wanting: Arc<Wanting>,
    /// A unit of more merit than the running one has come.
    preempt: bool,
    /// The running unit asked to go behind the next one.
    yielded: bool,
    /// The loads of all who run or wait here: 4096 units at most, so the sum has room.
    load: u32,
    /// How long this CPU has had nothing to run.
    pub idle: IdleTime,
}

impl Queue {
    /// An idle queue whose turns last `slice` ticks, one of those that share `wanting`.
    pub fn new(slice: u64, wanting: Arc<Wanting>) -> Self {
        Queue {
            slice: slice.clamp(1, LONGEST),
            floor: Vtime::default(),
            current: None,
            heads: Vec::new(),
            behind: Vec::new(),
            groups: Groups::default(),
            wanting,
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

    /// Makes room for `units` units, whose numbers are below that, so that nothing else here allocates.
    pub fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        let missing = units.saturating_sub(self.groups.0.len());
        self.heads.try_reserve(units.saturating_sub(self.heads.len()))?;
        self.behind.try_reserve(units.saturating_sub(self.behind.len()))?;
        self.groups.0.try_reserve(missing)?;
        self.groups.0.extend(core::iter::repeat_n(Group::default(), missing));
        Ok(())
    }

    /// The running unit.
    pub fn current(&self) -> Option<UnitId> {
        self.current.as_ref().map(|current| current.head.entry.id.unit())
    }

    /// Number of units that wait, the running one not among them.
    pub fn waiting(&self) -> usize {
        self.heads.len().saturating_add(self.behind.len())
    }

    /// What `ticks` of running here cost a unit's domain.
    #[inline]
    fn price(&self, entry: &Entry, ticks: u64) -> i64 {
        let here = self.units_of(entry.group);
        let all = self.wanting.of(entry.group);
        // A domain whose units are all here is the frequent case.
        if all <= here.max(1) {
            cost(ticks, entry.weight)
        } else {
            cost_of_part(ticks, entry.weight, here, all)
        }
    }

    /// How many units of a domain run or wait here.
    #[inline]
    fn units_of(&self, group: EntryId) -> u16 {
        self.groups.0.get(usize::from(group.0)).map_or(0, |group| group.units)
    }

    fn waiters(&self) -> impl Iterator<Item = &Entry> {
        self.heads.iter().map(|head| &head.entry).chain(&self.behind)
    }

    /// The CPUs that at least one of the waiting units may run on.
    pub fn allowed(&self) -> CpuMask {
        self.waiters().fold(CpuMask::NONE, |mask, entry| mask.or(entry.allowed))
    }

    /// The loads of all who run or wait here.
    pub fn load(&self) -> u32 {
        // The sum is too dear for the machine, where it is kept as units come and go.
        if cfg!(debug_assertions) && self.load != self.sum_of_loads() {
            bug!("a run queue's load is not that of its units");
        }
        self.load
    }

    fn sum_of_loads(&self) -> u32 {
        let running = self.current.as_ref().map(|current| &current.head.entry);
        self.waiters().chain(running).map(|entry| u32::from(entry.load)).sum()
    }

    /// When the running unit's turn ends; `None` while nobody waits for it, so that no timer is needed.
    pub fn deadline(&self) -> Option<u64> {
        self.current.as_ref().filter(|_| self.waiting() > 0).map(|current| current.slice_end)
    }

    /// The next one of a domain among those in `behind`, and its place there.
    #[inline]
    fn next_behind(&self, group: EntryId) -> Option<(usize, Entry)> {
        let end = self.behind.partition_point(|other| other.group <= group);
        let place = end.checked_sub(1)?;
        let entry = self.behind.get(place).copied().filter(|entry| entry.group == group)?;
        Some((place, entry))
    }

    fn stand_behind(&mut self, entry: &Entry) {
        let before = |other: &Entry| (other.group, entry.ran) < (entry.group, other.ran);
        let place = self.behind.partition_point(before);
        self.behind.insert(place, *entry);
    }

    /// A domain waits from here on, with this unit as its next one.
    #[inline]
    fn push_head(&mut self, vtime: Vtime, entry: &Entry) {
        // The next one stands last, where it is taken off without moving the others.
        let place = self.heads.partition_point(|other| other.vtime.ahead_of(vtime) > 0);
        self.heads.insert(place, Head { vtime, entry: *entry });
    }

    /// The next one of a domain's other units, if any wait, stands for it now.
    fn promote(&mut self, group: EntryId, vtime: Vtime) {
        if let Some((place, entry)) = self.next_behind(group) {
            self.behind.remove(place);
            self.push_head(vtime, &entry);
        }
    }

    /// A unit waits whose domain runs or waits here.
    #[inline(never)]
    fn join(&mut self, entry: &Entry) {
        let mut entry = *entry;
        let head = self.heads.iter_mut().find(|head| head.entry.group == entry.group);
        if let Some(head) = head.filter(|head| entry.ran < head.entry.ran) {
            core::mem::swap(&mut head.entry, &mut entry);
        }
        self.stand_behind(&entry);
    }

    /// Adds a waiting unit. Whether the CPU has to reconsider: it idles, its timer is not set yet, or (with `boost`)
    /// the newcomer is so far behind the running unit that it should not wait for the end of the turn.
    #[must_use]
    pub fn insert(&mut self, entry: &Entry, now: u64, boost: bool) -> bool {
        // The running unit's times are compared with the newcomer's below: they have to be those of `now`.
        self.charge(now);
        let Some(group) = self.groups.of(entry.group) else {
            bug!("a run queue has no room for a domain");
            return false;
        };
        let vtime = group.vtime;
        group.units = group.units.wrapping_add(1);
        let is_first = group.units == 1;
        self.wanting.add(entry.group);
        self.load = self.load.wrapping_add(entry.load.into());
        if is_first {
            self.push_head(vtime, entry);
        } else {
            self.join(entry);
        }
        let Some(Current { head: running, .. }) = &self.current else { return true };
        if boost {
            // Without a margin, two units that wake each other by turns would change at each wake-up.
            let margin = self.slice / 8;
            self.preempt |= if running.entry.group == entry.group {
                running.entry.ran > entry.ran.saturating_add(margin)
            } else {
                running.vtime.ahead_of(vtime) > self.price(entry, margin)
            };
        }
        // The first to wait has the timer set; for those that follow it is set already (`deadline`).
        boost && self.preempt || self.waiting() == 1
    }

    /// Takes a waiting unit off the queue.
    pub fn remove(&mut self, id: UnitId) -> Option<Entry> {
        self.take(|entry| entry.id.unit() == id)
    }

    /// Takes the first waiting unit that may run on `cpu`.
    pub fn take_for(&mut self, cpu: CpuId) -> Option<Entry> {
        self.take(|entry| entry.allowed.contains(cpu))
    }

    fn take(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // From the end, where the next one stands.
        let entry = if let Some(place) = self.heads.iter().rposition(|head| wanted(&head.entry)) {
            let Head { vtime, entry } = self.heads.remove(place);
            self.promote(entry.group, vtime);
            entry
        } else {
            let place = self.behind.iter().rposition(wanted)?;
            self.behind.remove(place)
        };
        self.load = self.load.wrapping_sub(entry.load.into());
        self.wanting.remove(entry.group);
        if let Some(group) = self.groups.of(entry.group) {
            group.units = group.units.wrapping_sub(1);
        }
        Some(entry)
    }

    /// Changes the weight and load of a unit that runs or waits here, from `now` on.
    pub fn reweigh(&mut self, id: UnitId, weight: u16, load: u16, now: u64) {
        // What it ran so far, it ran at the old weight.
        self.charge(now);
        let running = self.current.as_mut().map(|current| &mut current.head);
        let heads = self.heads.iter_mut().chain(running).map(|head| &mut head.entry);
        for entry in heads.chain(&mut self.behind).filter(|entry| entry.id.unit() == id) {
            self.load = self.load.wrapping_sub(entry.load.into()).wrapping_add(load.into());
            (entry.weight, entry.load) = (weight, load);
        }
        // What it ran at the old weight is not to keep it waiting longer than a turn at the new one does.
        let latest = |queue: &Self, entry: &Entry| queue.floor.moved(queue.price(entry, queue.slice));
        if let Some(place) = self.heads.iter().position(|head| head.entry.id.unit() == id) {
            let Head { vtime, entry } = self.heads.remove(place);
            self.push_head(vtime.not_beyond(latest(self, &entry)), &entry);
        } else if let Some(current) = self.current.filter(|current| current.head.entry.id.unit() == id) {
            let latest = latest(self, &current.head.entry);
            let vtime = current.head.vtime.not_beyond(latest);
            self.current = Some(Current { head: Head { vtime, ..current.head }, ..current });
        }
    }

    /// The running unit goes behind the next one that waits, if there is one.
    pub fn yield_now(&mut self) {
        self.yielded = true;
    }

    /// Charges the running unit for the time up to `now`.
    #[inline]
    pub fn charge(&mut self, now: u64) {
        if let Some(Current { head, charged, .. }) = &self.current
            // Often this is not the first look at a tick.
            && let Some(ticks) = now.checked_sub(*charged).filter(|&ticks| ticks > 0)
        {
            let price = self.price(&head.entry, ticks);
            if let Some(Current { head, charged, .. }) = &mut self.current {
                head.vtime = head.vtime.moved(price);
                head.entry.ran = head.entry.ran.wrapping_add(ticks);
                *charged = now;
            }
        }
        let running = self.current.as_ref().map(|current| current.head.vtime);
        let first = self.heads.last().map(|head| head.vtime);
        let least = match (running, first) {
            (Some(running), Some(first)) if first.ahead_of(running) < 0 => first,
            (Some(running), _) => running,
            (None, Some(first)) => first,
            (None, None) => return,
        };
        self.floor = self.floor.max(least);
    }

    /// This CPU has spent the `ticks` up to `now` on an interrupt for `owner`, whose domain is charged for that here, or for
    /// nobody. Returns the running unit, if that is of another domain and so is not charged.
    pub fn charge_interrupt(&mut self, owner: Option<&Entry>, ticks: u64, now: u64) -> Option<UnitId> {
        let Current { head: Head { entry: running, .. }, charged, .. } = *self.current.as_ref()?;
        if owner.is_some_and(|owner| owner.group == running.group) {
            return None;
        }
        // Who was woken by the interrupt had the running unit charged for a part of it already.
        let paid = ticks.saturating_sub(now.saturating_sub(charged));
        let price = self.price(&running, paid);
        // As who wakes, it stands half a slice before the floor at most.
        let earliest = self.floor.moved(-(self.price(&running, self.slice) / 2));
        let current = self.current.as_mut()?;
        let head = &mut current.head;
        head.vtime = head.vtime.moved(-price).max(earliest);
        head.entry.ran = head.entry.ran.saturating_sub(paid);
        current.charged = charged.saturating_add(ticks.saturating_sub(paid));
        current.slice_end = current.slice_end.saturating_add(ticks);
        if let Some(owner) = owner {
            self.owe(owner, ticks);
        }
        Some(running.id.unit())
    }

    /// Whether the running unit goes on; `willing` says whether it can and may. If not, it is to be retired, and the next
    /// one to be dispatched.
    pub fn goes_on(&mut self, now: u64, willing: bool) -> bool {
        self.charge(now);
        // Both flags are about the unit that runs now: they must not outlive this decision and hit the next one.
        let preempt = core::mem::take(&mut self.preempt);
        let yielded = core::mem::take(&mut self.yielded);
        if !willing {
            return false;
        }
        let first = self.heads.last().map(|head| head.vtime);
        let group = self.current.as_ref().map(|current| current.head.entry.group);
        let own = group.filter(|_| !self.behind.is_empty()).and_then(|group| self.next_behind(group));
        let own = own.map(|(_, entry)| entry.ran);
        let Some(current) = self.current.as_mut() else { return false };
        if first.is_none() && own.is_none() {
            return true;
        }
        let Head { vtime, entry } = &mut current.head;
        if yielded {
            // Level with the next one and not behind all: who yields in a loop would else never come back. Its domain loses
            // nothing to others where a unit of its own waits.
            match (own, first) {
                (Some(own), _) => entry.ran = entry.ran.max(own),
                (None, Some(first)) => *vtime = vtime.max(first),
                (None, None) => (),
            }
        }
        let used_up = now >= current.slice_end;
        let behind =
            first.is_some_and(|first| vtime.ahead_of(first) >= 0) || own.is_some_and(|own| entry.ran >= own);
        if behind && (used_up || preempt || yielded) {
            return false;
        }
        if used_up {
            // It goes on with a new turn; a deadline in the past would fire the timer at once, again and again.
            current.slice_end = now.saturating_add(self.slice);
        }
        true
    }

    /// Takes the running unit, which has been charged ([`Queue::goes_on`]), off the CPU.
    #[inline]
    pub fn retire(&mut self, now: u64) -> Option<Retired> {
        let Current { head: Head { vtime, entry }, slice_end, .. } = self.current.as_ref()?;
        let retired = Retired { ran: entry.ran, used_up: now >= *slice_end };
        let (vtime, number) = (*vtime, entry.group);
        self.load = self.load.wrapping_sub(entry.load.into());
        self.wanting.remove(number);
        self.current = None;
        if let Some(group) = self.groups.of(number) {
            group.vtime = vtime;
            group.units = group.units.wrapping_sub(1);
            if group.units == 0 {
                group.floor = group.floor.max(retired.ran);
            } else {
                self.promote(number, vtime);
            }
        }
        Some(retired)
    }

    /// Lets the unit run whose turn it is. Whoever ran before has been retired.
    #[inline]
    pub fn dispatch(&mut self, now: u64) -> Option<UnitId> {
        let head = self.heads.pop()?;
        // Nobody here stands before it.
        self.floor = self.floor.max(head.vtime);
        Some(self.begin(head, now))
    }

    /// Lets a unit run that comes from another queue with this lag. Nothing runs here.
    pub fn admit(&mut self, mut entry: Entry, lag: Lag, now: u64) {
        self.arrive(&mut entry, lag);
        // One of its own that has come to wait here waits behind it.
        if let Some(place) = self.heads.iter().position(|head| head.entry.group == entry.group) {
            let head = self.heads.remove(place);
            self.stand_behind(&head.entry);
        }
        self.load = self.load.wrapping_add(entry.load.into());
        let Some(group) = self.groups.of(entry.group) else { return };
        group.units = group.units.wrapping_add(1);
        let vtime = group.vtime;
        self.wanting.add(entry.group);
        self.begin(Head { vtime, entry }, now);
    }

    #[inline(always)]
    fn begin(&mut self, head: Head, now: u64) -> UnitId {
        let slice_end = now.saturating_add(self.slice);
        self.current = Some(Current { head, charged: now, slice_end });
        head.entry.id.unit()
    }
}
