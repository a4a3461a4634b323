//! What units and their domains owe, or are owed, when they come to a queue or leave it.

use super::super::vtime::Vtime;
use super::{Current, Entry, EntryId, Head, Lag, Queue};

impl Queue {
    /// The mean virtual time of the domains that run or wait here, by weight.
    fn mean(&self) -> Vtime {
        let running = self.current.as_ref().map(|current| &current.head);
        // A virtual time may be 2^63 ahead in theory, and is multiplied by 16 bits of weight for each of many domains.
        let sums: (i128, i128) = self.heads.iter().chain(running).fold((0, 0), |(sum, weights), head| {
            let weight = i128::from(head.entry.weight);
            (sum + i128::from(head.vtime.ahead_of(self.floor)) * weight, weights + weight)
        });
        self.floor.moved(i64::try_from(sums.0 / sums.1.max(1)).unwrap_or(0))
    }

    /// How far a domain that leaves with this virtual time is ahead of those it leaves behind; negative when it has a
    /// claim on them. At most one slice of running in either direction.
    fn lag(&self, vtime: Vtime, entry: &Entry) -> i64 {
        let bound = self.price(entry, self.slice);
        vtime.ahead_of(self.mean()).clamp(-bound, bound)
    }

    /// What a unit that has left takes along to another queue, whose times do not compare with those here.
    pub fn leave(&mut self, entry: &Entry) -> Lag {
        let ahead = entry.ran.wrapping_sub(self.mean_run(entry.group)).cast_signed();
        let bound = self.slice.cast_signed();
        let left = self.groups.of(entry.group).filter(|group| group.units == 0).map(|group| group.vtime);
        Lag { group: left.map(|vtime| self.lag(vtime, entry)), unit: ahead.clamp(-bound, bound) }
    }

    /// A unit comes from another queue with this lag. Neither its domain nor it ever stand before the floor, or those that
    /// change queues could overtake for ever.
    pub fn arrive(&mut self, entry: &mut Entry, lag: Lag) {
        let (mean, floor) = (self.mean(), self.floor);
        let run = self.mean_run(entry.group);
        let latest = floor.moved(self.price(entry, self.slice));
        let Some(group) = self.groups.of(entry.group) else { return };
        entry.ran = run.saturating_add_signed(lag.unit).max(group.floor);
        if group.units == 0 {
            let vtime = match lag.group {
                Some(lag) => mean.moved(lag),
                // It is in two places now, and pays in each for what it had there.
                None => mean.max(group.vtime.not_beyond(latest)),
            };
            group.vtime = vtime.max(floor);
        }
    }

    /// A unit wakes that was on this queue last. What its domain was entitled to on this queue meanwhile is credited, up to
    /// half a slice of running; so is what the unit was entitled to among those of its domain.
    #[inline]
    pub fn awaken(&mut self, entry: &mut Entry) {
        if self.units_of(entry.group) == 0 {
            let bound = self.price(entry, self.slice);
            let Some(group) = self.groups.of(entry.group) else { return };
            let vtime = group.vtime.not_beyond(self.floor.moved(bound));
            group.vtime = vtime.max(self.floor.moved(-(bound / 2)));
            entry.ran = entry.ran.max(group.floor.saturating_sub(self.slice / 2));
        } else {
            self.awaken_among(entry);
        }
    }

    /// A domain that does not run is charged for `ticks`. Where it is away, what it is credited when it comes is less by that.
    pub fn owe(&mut self, owner: &Entry, ticks: u64) {
        let (bound, price) = (self.price(owner, self.slice), self.price(owner, ticks));
        let (latest, earliest) = (self.floor.moved(bound), self.floor.moved(-(bound / 2)));
        let Some(group) = self.groups.of(owner.group) else { return };
        if group.units == 0 {
            group.vtime = group.vtime.not_beyond(latest).max(earliest);
        }
        group.vtime = group.vtime.moved(price);
        let vtime = group.vtime;
        if let Some(place) = self.heads.iter().position(|head| head.entry.group == owner.group) {
            let head = self.heads.remove(place);
            self.push_head(vtime, &head.entry);
        }
    }

    #[inline(never)]
    fn awaken_among(&mut self, entry: &mut Entry) {
        let floor = self.least_run(entry.group);
        let credit = floor.saturating_sub(self.slice / 2);
        entry.ran = entry.ran.clamp(credit, floor.saturating_add(self.slice));
    }

    /// What the units of a domain that are here have run, in the mean.
    fn mean_run(&mut self, group: EntryId) -> u64 {
        let floor = self.least_run(group);
        let running = self.current.as_ref().map(|current| &current.head.entry);
        let own = self.waiters().chain(running).filter(|entry| entry.group == group);
        let (sum, count) = own.fold((0_u64, 0_u64), |(sum, count), entry| {
            (sum.saturating_add(entry.ran.saturating_sub(floor)), count.saturating_add(1))
        });
        floor.saturating_add(sum.checked_div(count).unwrap_or(0))
    }

    /// What all units of a domain that are here have run, or had when the last one left.
    fn least_run(&mut self, number: EntryId) -> u64 {
        let heads = self.heads.iter().chain(self.current.as_ref().map(|Current { head, .. }| head));
        let own = heads.map(|Head { entry, .. }| entry).find(|entry| entry.group == number);
        // Where it waits, those behind have run longer; where it runs, perhaps not.
        let behind = self.next_behind(number);
        let least =
            own.into_iter().chain(behind.as_ref().map(|(_, entry)| entry)).map(|entry| entry.ran).min();
        let Some(group) = self.groups.of(number) else { return 0 };
        group.floor = group.floor.max(least.unwrap_or(0));
        group.floor
    }
}
