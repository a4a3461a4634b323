//! Sets of ranges: sorted, disjoint, each with a value, and found by one binary search.
//!
//! Ranges have both their ends in them, so that the last address there is can be in one. Neighbours of the same value are
//! one range: how many there are depends on what is in the set and not on how it came there, which is what makes a limit
//! on their number fair. Growth is fallible, and a change that fails changes nothing.

use alloc::vec::Vec;
use core::cmp::Ordering;

use arrayvec::ArrayVec;

/// A range, both ends included, and what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<T = ()> {
    /// The first number.
    pub first: u64,
    /// The last number, not below the first.
    pub last: u64,
    /// Its value.
    pub value: T,
}

/// Why a set was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalError {
    /// The range ends before it begins.
    Empty,
    /// Some of the range is in the set.
    Overlap,
    /// The range is not part of one range with this value.
    Absent,
    /// The set would get more ranges than it may.
    Full,
    /// There is no memory.
    Memory,
}

/// The set. Between two calls its ranges ascend, do not overlap, and no two that touch have the same value.
#[derive(Clone, Debug)]
pub struct Intervals<T = ()>(Vec<Interval<T>>);

/// A change that has been worked out: these ranges take the place of those from `start` to before `end`.
struct Change<T> {
    start: usize,
    end: usize,
    /// What is left in front, what is set, and what is left behind.
    new: ArrayVec<Interval<T>, 3>,
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Intervals(Vec::new())
    }
}

impl<T: Copy + Eq> Intervals<T> {
    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in ascending order.
    pub fn as_slice(&self) -> &[Interval<T>] {
        &self.0
    }

    /// The range that has this number.
    #[inline]
    pub fn find(&self, number: u64) -> Option<&Interval<T>> {
        self.find_with(number, || ())
    }

    /// As [`find`](Self::find), calling `step` for each range that is looked at.
    #[inline]
    fn find_with(&self, number: u64, mut step: impl FnMut()) -> Option<&Interval<T>> {
        let index = self.0.binary_search_by(|range| {
            step();
            match () {
                () if range.first > number => Ordering::Greater,
                () if range.last < number => Ordering::Less,
                () => Ordering::Equal,
            }
        });
        self.0.get(index.ok()?)
    }

    /// The ranges that have a number of `first..=last`, in ascending order.
    pub fn overlapping(&self, first: u64, last: u64) -> &[Interval<T>] {
        let (start, end) = self.touched(first, last);
        self.0.get(start..end).unwrap_or_default()
    }

    /// Whether each number of `first..=last` is in the set, whatever its value.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        let mut next = Some(first);
        for range in self.overlapping(first, last) {
            if next.is_none_or(|next| range.first > next) {
                return false;
            }
            next = range.last.checked_add(1);
        }
        // Nothing behind the last number there is.
        last < first || next.is_none_or(|next| next > last)
    }

    /// Adds a range that is in nobody's. At most `room` more ranges than before may be the outcome.
    ///
    /// [`Empty`](IntervalError::Empty), [`Overlap`](IntervalError::Overlap), [`Full`](IntervalError::Full),
    /// [`Memory`](IntervalError::Memory).
    pub fn insert(&mut self, first: u64, last: u64, value: T, room: usize) -> Result<(), IntervalError> {
        if last < first {
            return Err(IntervalError::Empty);
        }
        if !self.overlapping(first, last).is_empty() {
            return Err(IntervalError::Overlap);
        }
        self.set(first, last, Some(value), room)
    }

    /// Takes out a range all of which is in one range with this value. At most `room` more ranges than before may be the
    /// outcome: out of a middle two are left.
    ///
    /// [`Empty`](IntervalError::Empty), [`Absent`](IntervalError::Absent), [`Full`](IntervalError::Full),
    /// [`Memory`](IntervalError::Memory).
    pub fn remove(&mut self, first: u64, last: u64, value: T, room: usize) -> Result<(), IntervalError> {
        if last < first {
            return Err(IntervalError::Empty);
        }
        match self.find(first) {
            Some(range) if range.last >= last && range.value == value => self.set(first, last, None, room),
            _ => Err(IntervalError::Absent),
        }
    }

    /// Gives every number of `first..=last` this value, whatever it had before; `None` takes them all out. At most `room`
    /// more ranges than before may be the outcome.
    ///
    /// [`Empty`](IntervalError::Empty), [`Full`](IntervalError::Full), [`Memory`](IntervalError::Memory).
    pub fn set(&mut self, first: u64, last: u64, value: Option<T>, room: usize) -> Result<(), IntervalError> {
        if last < first {
            return Err(IntervalError::Empty);
        }
        let change = self.plan(first, last, value);
        let more = change.new.len().saturating_sub(change.end.saturating_sub(change.start));
        if more > room {
            return Err(IntervalError::Full);
        }
        self.0.try_reserve(more).map_err(|_| IntervalError::Memory)?;
        self.carry_out(change);
        Ok(())
    }

    /// Takes out all ranges that `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&Interval<T>) -> bool) {
        self.0.retain(keep);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// The indices of the ranges that have a number of `first..=last`: from the first to before the second.
    fn touched(&self, first: u64, last: u64) -> (usize, usize) {
        let start = self.0.partition_point(|range| range.last < first);
        let end = self.0.partition_point(|range| range.first <= last);
        (start, end.max(start))
    }

    /// What becomes of the ranges at `first..=last`.
    fn plan(&self, first: u64, last: u64, value: Option<T>) -> Change<T> {
        let (mut start, mut end) = self.touched(first, last);
        let mut middle = value.map(|value| Interval { first, last, value });
        let mut before = self.0.get(start).filter(|range| range.first < first).copied();
        let mut behind = end.checked_sub(1).and_then(|index| self.0.get(index)).copied();
        behind = behind.filter(|range| range.last > last);
        // Where the range ends at another, that one may be its continuation: then it is taken along.
        let whole_before = start.checked_sub(1).and_then(|index| self.0.get(index)).copied();
        let whole_behind = self.0.get(end).copied();
        if let Some(middle) = &mut middle {
            let continues = |range: &Interval<T>, from: u64, at: u64| {
                range.value == middle.value && from.checked_add(1) == Some(at)
            };
            if before.is_none()
                && let Some(range) = whole_before.filter(|range| continues(range, range.last, first))
            {
                before = Some(range);
                start = start.saturating_sub(1);
            }
            if behind.is_none()
                && let Some(range) = whole_behind.filter(|range| continues(range, last, range.first))
            {
                behind = Some(range);
                end = end.saturating_add(1);
            }
            if let Some(range) = before.take_if(|range| range.value == middle.value) {
                middle.first = range.first;
            }
            if let Some(range) = behind.take_if(|range| range.value == middle.value) {
                middle.last = range.last;
            }
        }
        // Cut where the new one begins and ends; neither is at an end of the numbers, because something is left there.
        let before = before.map(|range| Interval { last: first.wrapping_sub(1), ..range });
        let behind = behind.map(|range| Interval { first: last.wrapping_add(1), ..range });
        Change { start, end, new: [before, middle, behind].into_iter().flatten().collect() }
    }

    /// Makes the change, for which there is room.
    fn carry_out(&mut self, change: Change<T>) {
        let Change { start, end, new } = change;
        let kept = new.len().min(end.saturating_sub(start));
        if let Some(places) = self.0.get_mut(start..) {
            for (place, range) in places.iter_mut().zip(new.iter().take(kept)) {
                *place = *range;
            }
        }
        let next = start.saturating_add(kept);
        self.0.drain(next..end.max(next));
        for (index, range) in (next..).zip(new.into_iter().skip(kept)) {
            self.0.insert(index, range);
        }
    }
}

#[cfg(test)]
mod tests;
