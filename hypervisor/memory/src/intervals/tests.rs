//! The set against an array that says for each number what it has, and what a look-up costs.

use proptest::prelude::*;

use super::IntervalError::{Absent, Empty, Full, Memory, Overlap};
use super::*;

/// Numbers that the array has.
const END: u64 = 64;
/// As many more ranges as there may be.
const ANY: usize = usize::MAX;

impl Value for u8 {
    fn to_number(self) -> u32 {
        self.into()
    }

    fn from_number(number: u32) -> Self {
        (number & 0xff) as u8
    }
}

type Model = [Option<u8>; END as usize];

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u64, u64, u8),
    Remove(u64, u64, u8),
    Set(u64, u64, Option<u8>),
    RemoveAll(u8),
}

/// One change, on a small space so that changes meet.
fn op() -> impl Strategy<Value = Op> {
    let range = (0u64..48, 0u64..12).prop_map(|(first, size)| (first, (first + size).saturating_sub(1)));
    let value = 0u8..3;
    prop_oneof![
        4 => (range.clone(), value.clone()).prop_map(|((first, last), value)| Op::Insert(first, last, value)),
        4 => (range.clone(), value.clone()).prop_map(|((first, last), value)| Op::Remove(first, last, value)),
        4 => (range, prop::option::of(value.clone())).prop_map(|((first, last), value)| Op::Set(first, last, value)),
        1 => value.prop_map(Op::RemoveAll),
    ]
}

/// The ranges that the array shows.
fn runs(model: &Model) -> Vec<Interval<u8>> {
    let mut runs: Vec<Interval<u8>> = Vec::new();
    for (number, value) in (0u64..).zip(model).filter_map(|(number, value)| Some((number, (*value)?))) {
        match runs.last_mut() {
            Some(last) if last.last + 1 == number && last.value == value => last.last = number,
            _ => runs.push(Interval { first: number, last: number, value }),
        }
    }
    runs
}

/// Makes a change of the array; says what the set must.
fn expected(model: &mut Model, op: Op, room: usize) -> Result<(), IntervalError> {
    let mut after = *model;
    match op {
        Op::Insert(first, last, _) | Op::Remove(first, last, _) | Op::Set(first, last, _) if last < first => {
            return Err(Empty);
        }
        Op::Insert(first, last, value) => {
            let touched = &mut after[first as usize..=last as usize];
            if touched.iter().any(Option::is_some) {
                return Err(Overlap);
            }
            touched.fill(Some(value));
        }
        Op::Remove(first, last, value) => {
            let touched = &mut after[first as usize..=last as usize];
            if touched.iter().any(|&other| other != Some(value)) {
                return Err(Absent);
            }
            touched.fill(None);
        }
        Op::Set(first, last, value) => after[first as usize..=last as usize].fill(value),
        Op::RemoveAll(value) => {
            after.iter_mut().for_each(|place| *place = place.filter(|&other| other != value));
        }
    }
    if runs(&after).len() > runs(model).len().saturating_add(room) {
        return Err(Full);
    }
    *model = after;
    Ok(())
}

fn apply(set: &mut Intervals<u8>, op: Op, room: usize) -> Result<(), IntervalError> {
    match op {
        Op::Insert(first, last, value) => set.insert(first, last, value, room),
        Op::Remove(first, last, value) => set.remove(first, last, value, room),
        Op::Set(first, last, value) => set.set(first, last, value, room),
        Op::RemoveAll(value) => {
            set.remove_all(value);
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn the_set_is_an_array_of_values(steps in prop::collection::vec((op(), prop_oneof![3 => Just(ANY), 1 => Just(0)]), 0..60)) {
        let mut set = Intervals::try_new(2048).unwrap();
        let mut model: Model = [None; END as usize];
        for (op, room) in steps {
            prop_assert_eq!(apply(&mut set, op, room), expected(&mut model, op, room));
            prop_assert!(set.iter().eq(runs(&model)));
            prop_assert_eq!((set.len(), set.is_empty()), (runs(&model).len(), runs(&model).is_empty()));
            for number in 0..END {
                prop_assert_eq!(set.find(number).map(|range| range.value), model[number as usize]);
                for last in [number, (number + 5).min(END - 1)] {
                    let part = &model[number as usize..=last as usize];
                    prop_assert_eq!(set.covers(number, last), part.iter().all(Option::is_some));
                    prop_assert_eq!(set.overlapping(number, last).next().is_none(), part.iter().all(Option::is_none));
                }
            }
        }
    }
}

#[test]
fn the_ends_of_the_numbers_are_ordinary() {
    let mut set = Intervals::<u8>::try_new(2048).unwrap();
    assert_eq!(set.insert(u64::MAX, u64::MAX, 1, ANY), Ok(()));
    assert_eq!(set.insert(0, 0, 1, ANY), Ok(()));
    assert!(!set.covers(0, u64::MAX));
    assert_eq!(set.insert(1, u64::MAX - 1, 1, 0), Ok(()));
    assert!(set.iter().eq([Interval { first: 0, last: u64::MAX, value: 1 }]));
    assert!(set.covers(0, u64::MAX));
    assert_eq!(set.remove(0, 0, 1, 0), Ok(()));
    assert_eq!(set.remove(u64::MAX, u64::MAX, 1, 0), Ok(()));
    assert_eq!(set.set(0, u64::MAX, None, 0), Ok(()));
    assert!(set.is_empty());
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut set = Intervals::<u8>::try_new(2048).unwrap();
    assert_eq!(set.insert(10, 20, 1, 0), Err(Full));
    assert_eq!(set.insert(10, 20, 1, 1), Ok(()));
    assert_eq!(set.remove(12, 13, 1, 0), Err(Full));
    assert_eq!(set.set(12, 13, Some(2), 1), Err(Full));
    assert_eq!(set.insert(20, 30, 2, ANY), Err(Overlap));
    assert_eq!(set.remove(10, 20, 2, ANY), Err(Absent));
    assert_eq!((set.insert(3, 2, 1, ANY), set.remove(13, 12, 1, ANY)), (Err(Empty), Err(Empty)));
    assert!(set.iter().eq([Interval { first: 10, last: 20, value: 1 }]));
    // What takes no room needs none.
    assert_eq!(set.insert(21, 30, 1, 0), Ok(()));
    assert_eq!(set.len(), 1);
}

/// Some ranges in each of several pages, so that changes cross from page to page.
#[test]
fn ranges_of_several_pages_are_one_set() {
    let count = 5 * STEP as u64 + 3;
    let mut set = Intervals::<u8>::try_new(count as usize + 1).unwrap();
    let all = |numbers: &mut dyn Iterator<Item = u64>| -> Vec<Interval<u8>> {
        numbers
            .map(|number| Interval { first: number * 10, last: number * 10 + 4, value: (number % 3) as u8 })
            .collect()
    };
    // Each one comes before others that are there.
    for offset in 0..7 {
        for number in (offset..count).step_by(7).collect::<Vec<_>>().into_iter().rev() {
            assert_eq!(set.insert(number * 10, number * 10 + 4, (number % 3) as u8, ANY), Ok(()));
        }
    }
    assert!(set.iter().eq(all(&mut (0..count))));
    assert_eq!(set.held_pages(), 6);
    for number in 0..count {
        assert_eq!(set.find(number * 10 + 4).map(|range| range.first), Some(number * 10));
        assert_eq!(set.find(number * 10 + 5), None);
        assert_eq!(
            set.overlapping(number * 10 + 4, (number + 200) * 10).count() as u64,
            (count - number).min(201)
        );
    }
    // Out of the middle, many for one.
    assert_eq!(set.set(95, 3995, Some(1), ANY), Ok(()));
    assert_eq!(set.len() as u64, count - 390 + 1);
    assert_eq!(set.set(95, 3995, None, ANY), Ok(()));
    let left = |number: &u64| !(10..400).contains(number);
    assert!(set.iter().eq(all(&mut (0..count).filter(left))));
    set.remove_all(1);
    assert!(set.iter().eq(all(&mut (0..count).filter(left).filter(|number| number % 3 != 1))));
    assert_eq!(set.held_pages(), 2);
    set.remove_all(0);
    set.remove_all(2);
    assert_eq!((set.is_empty(), set.held_pages()), (true, 0));
}

#[test]
fn a_set_has_a_limit_from_the_start() {
    let mut set = Intervals::<u8>::try_new(1).unwrap();
    for number in 0..STEP as u64 {
        assert_eq!(set.insert(number * 2, number * 2, 0, ANY), Ok(()));
    }
    assert_eq!((set.insert(u64::MAX, u64::MAX, 0, ANY), set.reserve(1)), (Err(Memory), Err(Memory)));
    assert_eq!((set.len(), set.reserve(0)), (STEP, Ok(())));
}

#[test]
fn a_look_up_takes_few_steps_however_many_ranges_there_are() {
    for count in [1u64, 10, 100, 1000, 2000] {
        let mut set = Intervals::<u8>::try_new(2048).unwrap();
        for number in 0..count {
            set.insert(number * 0x1000, number * 0x1000 + 0xfff, (number % 3) as u8, ANY).unwrap();
        }
        for number in 0..count {
            let mut steps = 0;
            let found = set.ranges.find(number * 0x1000 + 7, || steps += 1);
            assert_eq!(found.map(|range| range.value), Some((number % 3) as u32));
            assert!(steps <= count.ilog2() + 2, "{count} ranges: {steps} steps");
        }
    }
}
