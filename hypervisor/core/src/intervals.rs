//! Sets of ranges: sorted, disjoint, each with a value, and found by one binary search.
//!
//! Ranges have both their ends in them, so that the last address there is can be in one. Neighbours of the same value are
//! one range: how many there are depends on what is in the set and not on how it came there, which is what makes a limit
//! on their number fair. Growth is fallible, and a change that fails changes nothing.
//!
//! A set keeps its values as numbers, so that sets of all kinds share the code that changes them.

use alloc::vec::Vec;
use core::marker::PhantomData;

/// Ranges that are looked at one by one before a search among all that are left.
const FEW: usize = 4;

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

/// What can stand for a range.
pub trait Value: Copy + Eq {
    /// The value as a number; equal values, and only those, have equal numbers.
    fn to_number(self) -> u32;

    /// The value with this number, which comes from [`to_number`](Self::to_number).
    fn from_number(number: u32) -> Self;
}

/// Of a set without values.
impl Value for () {
    fn to_number(self) -> u32 {
        0
    }

    fn from_number(_: u32) -> Self {}
}

/// The set.
#[derive(Clone, Debug)]
pub struct Intervals<T = ()> {
    ranges: Ranges,
    values: PhantomData<T>,
}

/// What becomes of ranges that a change would cover.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covered {
    /// They give way.
    Replace,
    /// The change is refused.
    Refuse,
}

/// The ranges of a set. Between two calls they ascend, do not overlap, and no two that touch have the same value.
#[derive(Clone, Debug, Default)]
struct Ranges(Vec<Interval<u32>>);

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Intervals { ranges: Ranges::default(), values: PhantomData }
    }
}

impl<T: Value> Interval<T> {
    /// The range with its value instead of the number.
    #[inline]
    fn of(range: &Interval<u32>) -> Self {
        Interval { first: range.first, last: range.last, value: T::from_number(range.value) }
    }
}

impl<T: Value> Intervals<T> {
    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.0.is_empty()
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Interval<T>> {
        self.ranges.0.iter().map(Interval::of)
    }

    /// The range that has this number.
    #[inline]
    pub fn find(&self, number: u64) -> Option<Interval<T>> {
        self.ranges.find(number, || ()).map(Interval::of)
    }

    /// The ranges that have a number of `first..=last`, in ascending order.
    pub fn overlapping(&self, first: u64, last: u64) -> impl ExactSizeIterator<Item = Interval<T>> {
        self.ranges.overlapping(first, last).iter().map(Interval::of)
    }

    /// Whether each number of `first..=last` is in the set, whatever its value.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        self.ranges.covers(first, last)
    }

    /// Adds a range that is in nobody's. At most `room` more ranges than before may be the outcome.
    ///
    /// [`Empty`](IntervalError::Empty), [`Overlap`](IntervalError::Overlap), [`Full`](IntervalError::Full),
    /// [`Memory`](IntervalError::Memory).
    pub fn insert(&mut self, first: u64, last: u64, value: T, room: usize) -> Result<(), IntervalError> {
        self.ranges.set(first, last, Some(value.to_number()), room, Covered::Refuse)
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
        self.ranges.set(first, last, value.map(T::to_number), room, Covered::Replace)
    }

    /// Makes room for `more` ranges, so that changes which take no more cannot fail for want of memory.
    pub fn reserve(&mut self, more: usize) -> Result<(), IntervalError> {
        self.ranges.reserve(more)
    }

    /// Takes out all ranges with this value.
    pub fn remove_all(&mut self, value: T) {
        self.ranges.remove_all(value.to_number());
    }
}

impl Ranges {
    /// The range that has this number. `step` is called for each range that is looked at.
    #[inline]
    fn find(&self, number: u64, mut step: impl FnMut()) -> Option<&Interval<u32>> {
        // One comparison a step: of disjoint ranges only the first that does not end before the number can have it.
        let index = self.0.partition_point(|range| {
            step();
            range.last < number
        });
        self.0.get(index).filter(|range| range.first <= number)
    }

    fn overlapping(&self, first: u64, last: u64) -> &[Interval<u32>] {
        let (start, end) = self.between(first, last);
        self.0.get(start..end).unwrap_or_default()
    }

    fn covers(&self, first: u64, last: u64) -> bool {
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

    fn set(
        &mut self,
        first: u64,
        last: u64,
        value: Option<u32>,
        room: usize,
        covered: Covered,
    ) -> Result<(), IntervalError> {
        if last < first {
            return Err(IntervalError::Empty);
        }
        // All ranges that reach into it or touch it: at most the first and the last of them leave something, and a neighbour
        // is left whole or becomes part of the new one.
        let (start, end) = self.between(first.saturating_sub(1), last.saturating_add(1));
        let old = self.0.get(start..end).unwrap_or_default();
        if covered == Covered::Refuse && old.iter().any(|range| range.first <= last && first <= range.last) {
            return Err(IntervalError::Overlap);
        }
        let mut middle = value.map(|value| Interval { first, last, value });
        let mut head = old.first().filter(|range| range.first < first).copied();
        let mut tail = old.last().filter(|range| range.last > last).copied();
        if let Some(middle) = &mut middle {
            if let Some(range) = head.take_if(|range| range.value == middle.value) {
                middle.first = range.first;
            }
            if let Some(range) = tail.take_if(|range| range.value == middle.value) {
                middle.last = range.last;
            }
        }
        if let Some(range) = &mut head {
            range.last = range.last.min(first.saturating_sub(1));
        }
        if let Some(range) = &mut tail {
            range.first = range.first.max(last.saturating_add(1));
        }
        self.replace(start, end, [head, middle, tail], room)
    }

    fn reserve(&mut self, more: usize) -> Result<(), IntervalError> {
        self.0.try_reserve(more).map_err(|_| IntervalError::Memory)
    }

    fn remove_all(&mut self, value: u32) {
        self.0.retain(|range| range.value != value);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// The indices of the ranges that have a number of `first..=last`: from the first to before the second.
    fn between(&self, first: u64, last: u64) -> (usize, usize) {
        let start = self.0.partition_point(|range| range.last < first);
        let rest = self.0.get(start..).unwrap_or_default();
        // Mostly there are none or few of them, so that a second search among all would take longer.
        let count = match rest.iter().take(FEW).position(|range| range.first > last) {
            Some(count) => count,
            None => rest.partition_point(|range| range.first <= last),
        };
        (start, start.saturating_add(count))
    }

    /// Puts these in the places from `start` to before `end`, which are in the list.
    fn replace(
        &mut self,
        start: usize,
        end: usize,
        new: [Option<Interval<u32>>; 3],
        room: usize,
    ) -> Result<(), IntervalError> {
        let count = new.iter().flatten().count();
        let old = end.saturating_sub(start);
        let more = count.saturating_sub(old);
        if more > room {
            return Err(IntervalError::Full);
        }
        self.reserve(more)?;
        // Most changes put one range between two others.
        if let (0, [None, Some(range), None]) = (old, new) {
            self.0.insert(start, range);
            return Ok(());
        }
        let len = self.0.len();
        // Any range will do to fill the places up to the new end: what is behind moves there.
        if let Some(&filler) = new.iter().flatten().next() {
            self.0.resize(len.saturating_add(more), filler);
        }
        let next = start.saturating_add(count);
        self.0.copy_within(end..len, next);
        self.0.truncate(next.saturating_add(len.saturating_sub(end)));
        for (place, range) in self.0.iter_mut().skip(start).zip(new.into_iter().flatten()) {
            *place = range;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
