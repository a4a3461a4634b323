//! Sets of ranges: sorted, disjoint, each with a value, and found by one binary search.
//!
//! Ranges have both their ends in them, so that the last address there is can be in one. Neighbours of the same value are
//! one range: how many there are depends on what is in the set and not on how it came there, which is what makes a limit
//! on their number fair. A set has a limit from the start, and its ranges are in pages that whoever has the set was promised
//! ([`Pieces`]). Growth is fallible, and a change that fails changes nothing.
//!
//! A set keeps its values as numbers, so that sets of all kinds share the code that changes them.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::pieces::Pieces;

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
#[derive(Debug)]
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
#[derive(Debug)]
struct Ranges {
    /// The first `len` elements are the ranges.
    pages: Pieces<Interval<u32>>,
    len: usize,
}

/// Ranges in a page.
const STEP: usize = Pieces::<Interval<u32>>::STEP;
/// An element that is no range of the set.
const UNUSED: Interval<u32> = Interval { first: 0, last: 0, value: 0 };

impl<T: Value> Interval<T> {
    /// The range with its value instead of the number.
    #[inline]
    fn of(range: &Interval<u32>) -> Self {
        Interval { first: range.first, last: range.last, value: T::from_number(range.value) }
    }
}

impl<T: Value> Intervals<T> {
    /// The pages that so many ranges take.
    pub const fn pages(ranges: usize) -> u64 {
        Pieces::<Interval<u32>>::pages(ranges)
    }

    /// Without ranges; there can be `most` of them. `Memory`: no memory for the list of pages.
    pub fn try_new(most: usize) -> Result<Self, IntervalError> {
        Ok(Intervals { ranges: Ranges::try_new(most)?, values: PhantomData })
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.len == 0
    }

    /// The pages that the set has.
    pub fn held_pages(&self) -> u64 {
        self.ranges.pages.held_pages()
    }

    /// Ends the set: without ranges, and gives one of its pages back. It takes no range any more. False when there is no page left.
    pub fn shrink(&mut self) -> bool {
        self.ranges.len = 0;
        self.ranges.pages.shrink()
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Interval<T>> {
        self.ranges.pages.iter().take(self.ranges.len).map(Interval::of)
    }

    /// The range that has this number.
    #[inline]
    pub fn find(&self, number: u64) -> Option<Interval<T>> {
        self.ranges.find(number, uncounted).map(Interval::of)
    }

    /// The ranges that have a number of `first..=last`, in ascending order.
    pub fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = Interval<T>> {
        self.ranges.overlapping(first, last).map(Interval::of)
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

    /// Makes room for `more` ranges, so that changes which take no more cannot fail for want of memory. It stays until
    /// [`remove_all`](Self::remove_all).
    pub fn reserve(&mut self, more: usize) -> Result<(), IntervalError> {
        self.ranges.reserve(more)
    }

    /// Takes out all ranges with this value, and gives back the pages that the others do not need.
    pub fn remove_all(&mut self, value: T) {
        self.ranges.remove_all(value.to_number());
    }
}

/// For a step that nobody counts.
fn uncounted() {}

impl Ranges {
    #[inline(never)]
    fn try_new(most: usize) -> Result<Self, IntervalError> {
        let pages = Pieces::try_new(most).ok_or(IntervalError::Memory)?;
        Ok(Ranges { pages, len: 0 })
    }

    fn get(&self, index: usize) -> Option<&Interval<u32>> {
        self.part(index / STEP).get(index % STEP)
    }

    /// The ranges that are in a page.
    #[inline(never)]
    fn part(&self, page: usize) -> &[Interval<u32>] {
        let before = page.saturating_mul(STEP);
        self.pages.page(page).get(..self.len.saturating_sub(before).min(STEP)).unwrap_or_default()
    }

    /// The page that has the first range which does not end before the number; or the last page.
    #[inline(never)]
    fn search_pages(&self, number: u64, mut step: impl FnMut()) -> usize {
        let (mut low, mut high) = (0, self.len.saturating_sub(1) / STEP);
        while low < high {
            step();
            let middle = low.midpoint(high);
            // The last range of a full page.
            if self.part(middle).last().is_some_and(|range| range.last < number) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many ranges end before the number: the first ones.
    fn count_before(&self, number: u64) -> usize {
        let page = self.search_pages(number, uncounted);
        let within = self.part(page).partition_point(|range| range.last < number);
        page.saturating_mul(STEP).saturating_add(within)
    }

    /// The range that has this number. `step` is called for each range that is looked at.
    #[inline]
    fn find(&self, number: u64, mut step: impl FnMut()) -> Option<&Interval<u32>> {
        // Most sets have one page: no more than a list would take.
        let part = if self.len <= STEP {
            self.pages.first_page().get(..self.len).unwrap_or_default()
        } else {
            self.part(self.search_pages(number, &mut step))
        };
        // One comparison a step: of disjoint ranges only the first that does not end before the number can have it.
        let index = part.partition_point(|range| {
            step();
            range.last < number
        });
        part.get(index).filter(|range| range.first <= number)
    }

    fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = &Interval<u32>> {
        let (start, end) = self.between(first, last);
        (start..end).filter_map(|index| self.get(index))
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
        let mut old = (start..end).filter_map(|index| self.get(index));
        if covered == Covered::Refuse && old.any(|range| range.first <= last && first <= range.last) {
            return Err(IntervalError::Overlap);
        }
        let at = |index: Option<usize>| index.filter(|_| start < end).and_then(|index| self.get(index));
        let mut middle = value.map(|value| Interval { first, last, value });
        let mut head = at(Some(start)).filter(|range| range.first < first).copied();
        let mut tail = at(end.checked_sub(1)).filter(|range| range.last > last).copied();
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
        let wanted = self.len.checked_add(more).ok_or(IntervalError::Memory)?;
        while self.pages.len() < wanted {
            self.pages.grow(|_| UNUSED).map_err(|_| IntervalError::Memory)?;
        }
        Ok(())
    }

    fn remove_all(&mut self, value: u32) {
        let (mut kept, mut page) = (0_usize, 0_usize);
        // What is kept of each page goes to its beginning, and from there behind what is kept of those before.
        while !self.part(page).is_empty() {
            let len = self.part(page).len();
            let ranges = self.pages.page_mut(page).get_mut(..len).unwrap_or_default();
            let ranges = Cell::from_mut(ranges).as_slice_of_cells();
            let mut places = ranges.iter();
            for range in ranges.iter().filter(|range| range.get().value != value) {
                // The place that is written is never behind the range that is read.
                let Some(place) = places.next() else { break };
                place.set(range.get());
            }
            let left = len.saturating_sub(places.len());
            xenolith_hw::steps::count(len as u64);
            let first = page.saturating_mul(STEP);
            self.pages.copy_within(first..first.saturating_add(left), kept);
            kept = kept.saturating_add(left);
            page = page.saturating_add(1);
        }
        self.len = kept;
        self.pages.truncate(kept);
    }

    /// The indices of the ranges that have a number of `first..=last`: from the first to before the second.
    fn between(&self, first: u64, last: u64) -> (usize, usize) {
        let (start, end) = (self.count_before(first), self.count_before(last));
        // The last one may go on behind it.
        let reaches = self.get(end).is_some_and(|range| range.first <= last);
        (start, end.saturating_add(reaches.into()).max(start))
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
        let more = count.saturating_sub(end.saturating_sub(start));
        if more > room {
            return Err(IntervalError::Full);
        }
        self.reserve(more)?;
        let next = start.saturating_add(count);
        self.pages.copy_within(end..self.len, next);
        self.len = next.saturating_add(self.len.saturating_sub(end));
        for (index, range) in (start..).zip(new.into_iter().flatten()) {
            if let Some(place) = self.pages.page_mut(index / STEP).get_mut(index % STEP) {
                *place = range;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
