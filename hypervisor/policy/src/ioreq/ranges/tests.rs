//! The list of ranges: each rule, a naive model, and what a look-up costs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

/// A list, and for each server its count.
#[derive(Default)]
struct List {
    ranges: Ranges,
    held: BTreeMap<ServerId, u16>,
}

impl List {
    fn map(&mut self, server: ServerId, first: u64, last: u64) -> Result<(), Errno> {
        self.ranges.map(server, first, last, self.held.entry(server).or_default())
    }

    fn unmap(&mut self, server: ServerId, first: u64, last: u64) -> Result<(), Errno> {
        self.ranges.unmap(server, first, last, self.held.entry(server).or_default())
    }

    fn held(&self, server: ServerId) -> u16 {
        self.held.get(&server).copied().unwrap_or(0)
    }

    /// Ordered, disjoint, joined where possible, and counted.
    fn check(&self) {
        for pair in self.ranges.0.windows(2) {
            assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first, "{pair:?}");
            let neighbours = pair[0].last + 1 == pair[1].first;
            assert!(!neighbours || pair[0].server != pair[1].server, "{pair:?}");
        }
        for (&server, &held) in &self.held {
            assert_eq!(
                self.ranges.0.iter().filter(|range| range.server == server).count(),
                usize::from(held)
            );
        }
    }
}

#[test]
fn an_access_lies_wholly_inside_one_range() {
    let mut list = List::default();
    list.map(A, 0x100, 0x1ff).unwrap();
    list.map(B, 0x200, 0x2ff).unwrap();
    assert_eq!(list.ranges.find(0x100, 0x1ff), Some(A));
    assert_eq!(list.ranges.find(0x1fc, 0x1ff), Some(A));
    assert_eq!(list.ranges.find(0x200, 0x203), Some(B));
    for (first, last) in
        [(0xff, 0x100), (0x1fe, 0x201), (0x2fe, 0x301), (0x300, 0x300), (0x180, 0x17f), (0, 0)]
    {
        assert_eq!(list.ranges.find(first, last), None, "{first:#x} {last:#x}");
    }
}

#[test]
fn overlaps_are_refused_whoever_has_the_range() {
    let mut list = List::default();
    list.map(A, 10, 20).unwrap();
    for server in [A, B] {
        for (first, last) in [(10, 20), (0, 10), (20, 30), (0, 30), (12, 13), (0, u64::MAX)] {
            assert_eq!(list.map(server, first, last), Err(Errno::EEXIST), "{first} {last}");
        }
    }
    list.map(B, 0, 9).unwrap();
    list.map(B, 21, u64::MAX).unwrap();
    list.check();
}

#[test]
fn neighbours_join_and_a_middle_splits() {
    let mut list = List::default();
    list.map(A, 0, 9).unwrap();
    list.map(A, 20, 29).unwrap();
    list.map(A, 10, 19).unwrap();
    assert_eq!(list.held(A), 1);
    list.map(A, 40, 49).unwrap();
    list.map(A, 35, 39).unwrap();
    list.map(A, 50, 59).unwrap();
    assert_eq!(list.held(A), 2);
    list.unmap(A, 10, 12).unwrap();
    assert_eq!(list.held(A), 3);
    assert_eq!(list.ranges.find(9, 10), None);
    list.unmap(A, 0, 3).unwrap();
    list.unmap(A, 25, 29).unwrap();
    list.unmap(A, 13, 24).unwrap();
    list.unmap(A, 4, 9).unwrap();
    list.unmap(A, 35, 59).unwrap();
    assert_eq!(list.held(A), 0);
    assert!(list.ranges.0.is_empty());
}

#[test]
fn the_ends_of_the_space_are_ordinary() {
    let mut list = List::default();
    list.map(A, u64::MAX, u64::MAX).unwrap();
    list.map(A, 0, 0).unwrap();
    assert_eq!(list.held(A), 2);
    list.map(A, 1, u64::MAX - 1).unwrap();
    assert_eq!(list.held(A), 1);
    assert_eq!(list.ranges.find(0, u64::MAX), Some(A));
    list.unmap(A, 0, 0).unwrap();
    list.unmap(A, u64::MAX, u64::MAX).unwrap();
    list.unmap(A, 1, u64::MAX - 1).unwrap();
    assert!(list.ranges.0.is_empty());
}

#[test]
fn what_is_not_the_servers_is_not_taken() {
    let mut list = List::default();
    list.map(A, 10, 20).unwrap();
    list.map(B, 21, 30).unwrap();
    for (server, first, last) in [(A, 21, 30), (A, 10, 21), (A, 9, 20), (B, 15, 16), (A, 31, 32), (A, 0, 1)] {
        assert_eq!(list.unmap(server, first, last), Err(Errno::ENOENT), "{server} {first} {last}");
    }
    assert_eq!(list.unmap(A, 12, 11), Err(Errno::EINVAL));
    assert_eq!(list.map(A, 2, 1), Err(Errno::EINVAL));
    list.check();
}

#[test]
fn a_server_has_so_many_ranges_and_no_more() {
    let mut list = List::default();
    for number in 0..u64::from(RANGES_PER_SERVER) {
        list.map(A, number * 10, number * 10 + 4).unwrap();
    }
    assert_eq!(list.map(A, 1_000_000, 1_000_000), Err(Errno::ENOMEM));
    assert_eq!(list.unmap(A, 2, 2), Err(Errno::ENOMEM));
    assert_eq!(list.ranges.find(0, 4), Some(A));
    // What takes no room still works, and gives some.
    list.map(A, 5, 9).unwrap();
    assert_eq!(list.held(A), RANGES_PER_SERVER - 1);
    list.map(A, 1_000_000, 1_000_000).unwrap();
    assert_eq!(list.map(A, 2_000_000, 2_000_000), Err(Errno::ENOMEM));
    list.check();
}

#[test]
fn another_server_has_room_of_its_own() {
    let mut list = List::default();
    for number in 0..u64::from(RANGES_PER_SERVER) {
        list.map(A, number * 10, number * 10).unwrap();
        list.map(B, number * 10 + 5, number * 10 + 5).unwrap();
    }
    list.check();
    list.ranges.remove_server(A);
    assert_eq!(list.ranges.find(0, 0), None);
    assert_eq!(list.ranges.find(5, 5), Some(B));
}

#[test]
fn a_look_up_takes_few_steps_however_many_ranges_and_servers() {
    let steps = |servers: u64, ranges: u64| {
        let mut list = List::default();
        for number in 0..ranges {
            let server = ServerId((number % servers) as u16);
            list.map(server, number * 0x1000, number * 0x1000 + 0xfff).unwrap();
        }
        let mut most = 0;
        for number in 0..ranges {
            let mut steps = 0;
            let found = list.ranges.find_with(number * 0x1000, number * 0x1000 + 7, || steps += 1);
            assert_eq!(found, Some(ServerId((number % servers) as u16)));
            most = most.max(steps);
        }
        most
    };
    for servers in [2, 4, 8] {
        for ranges in [1u64, 10, 100, 1000, 2000] {
            let bound = ranges.ilog2() + 2;
            let most = steps(servers, ranges);
            assert!(most <= bound, "{servers} servers, {ranges} ranges: {most} steps");
        }
        assert_eq!(steps(servers, 2000), steps(8, 2000));
    }
}

/// One call, on a small space so that calls meet.
fn call() -> impl Strategy<Value = (bool, u16, u64, u64)> {
    (any::<bool>(), 0u16..3, 0u64..48, 0u64..12)
        .prop_map(|(map, server, first, length)| (map, server, first, (first + length).saturating_sub(1)))
}

proptest! {
    /// Against an array that says for each address whose it is.
    #[test]
    fn the_list_is_a_map_of_addresses(calls in prop::collection::vec(call(), 0..60)) {
        let mut list = List::default();
        let mut owners = [None::<ServerId>; 64];
        for (map, server, first, last) in calls {
            let server = ServerId(server);
            let touched = owners.get_mut(first as usize..=last as usize);
            if map {
                let expected = match touched {
                    _ if last < first => Err(Errno::EINVAL),
                    Some(touched) if touched.iter().all(Option::is_none) => {
                        touched.fill(Some(server));
                        Ok(())
                    }
                    _ => Err(Errno::EEXIST),
                };
                prop_assert_eq!(list.map(server, first, last), expected);
            } else {
                let expected = match touched {
                    _ if last < first => Err(Errno::EINVAL),
                    Some(touched) if touched.iter().all(|&owner| owner == Some(server)) => {
                        touched.fill(None);
                        Ok(())
                    }
                    _ => Err(Errno::ENOENT),
                };
                prop_assert_eq!(list.unmap(server, first, last), expected);
            }
            list.check();
            for first in 0..60usize {
                for length in [0, 1, 3] {
                    let owner = owners[first];
                    let whole = owners[first..=first + length].iter().all(|&other| other == owner);
                    let expected = owner.filter(|_| whole);
                    prop_assert_eq!(list.ranges.find(first as u64, (first + length) as u64), expected);
                }
            }
        }
    }
}
