//! The ranges that servers claim: the errors, how many there may be, and a naive model.

use proptest::prelude::*;

use super::support::*;
use crate::ioreq::{RANGES, RANGES_PER_SERVER, ServerId};
use xenolith_abi::Errno;

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

/// A domain with so many servers.
fn with_servers(count: u16) -> Domain {
    let mut domain = Domain::new(1);
    for number in 0..count {
        assert_eq!(domain.create(OWNER), ServerId(number));
    }
    domain
}

impl Domain {
    fn map(&mut self, server: ServerId, first: u64, last: u64) -> Result<(), Errno> {
        self.servers.map_range(server, OWNER, first, last)
    }

    fn unmap(&mut self, server: ServerId, first: u64, last: u64) -> Result<(), Errno> {
        self.servers.unmap_range(server, OWNER, first, last)
    }

    /// How many ranges a server has, by its own count and by the list.
    fn held(&self, server: ServerId) -> u16 {
        let held = self.servers.server(server).unwrap().ranges;
        let listed = self.servers.ranges.iter().filter(|range| range.value == server);
        assert_eq!(listed.count(), usize::from(held));
        held
    }
}

#[test]
fn overlaps_are_refused_whoever_has_the_range() {
    let mut domain = with_servers(2);
    domain.map(A, 10, 20).unwrap();
    for server in [A, B] {
        for (first, last) in [(10, 20), (0, 10), (20, 30), (0, 30), (12, 13), (0, u64::MAX)] {
            assert_eq!(domain.map(server, first, last), Err(Errno::EEXIST), "{first} {last}");
        }
    }
    domain.map(B, 0, 9).unwrap();
    domain.map(B, 21, u64::MAX).unwrap();
    assert_eq!((domain.held(A), domain.held(B)), (1, 2));
}

#[test]
fn neighbours_join_and_a_middle_splits() {
    let mut domain = with_servers(1);
    domain.map(A, 0, 9).unwrap();
    domain.map(A, 20, 29).unwrap();
    domain.map(A, 10, 19).unwrap();
    assert_eq!(domain.held(A), 1);
    domain.map(A, 40, 49).unwrap();
    domain.map(A, 35, 39).unwrap();
    domain.map(A, 50, 59).unwrap();
    assert_eq!(domain.held(A), 2);
    domain.unmap(A, 10, 12).unwrap();
    assert_eq!(domain.held(A), 3);
    domain.unmap(A, 0, 3).unwrap();
    domain.unmap(A, 25, 29).unwrap();
    domain.unmap(A, 13, 24).unwrap();
    domain.unmap(A, 4, 9).unwrap();
    domain.unmap(A, 35, 59).unwrap();
    assert_eq!(domain.held(A), 0);
    assert!(domain.servers.ranges.is_empty());
}

#[test]
fn what_is_not_the_servers_is_not_taken() {
    let mut domain = with_servers(2);
    domain.map(A, 10, 20).unwrap();
    domain.map(B, 21, 30).unwrap();
    for (server, first, last) in [(A, 21, 30), (A, 10, 21), (A, 9, 20), (B, 15, 16), (A, 31, 32), (A, 0, 1)] {
        assert_eq!(domain.unmap(server, first, last), Err(Errno::ENOENT), "{server} {first} {last}");
    }
    assert_eq!(domain.unmap(A, 12, 11), Err(Errno::EINVAL));
    assert_eq!(domain.map(A, 2, 1), Err(Errno::EINVAL));
    assert_eq!((domain.held(A), domain.held(B)), (1, 1));
}

#[test]
fn a_server_has_so_many_ranges_and_no_more() {
    let mut domain = with_servers(2);
    for number in 0..u64::from(RANGES_PER_SERVER) {
        domain.map(A, number * 10, number * 10 + 4).unwrap();
    }
    assert_eq!(domain.map(A, 1_000_000, 1_000_000), Err(Errno::ENOMEM));
    assert_eq!(domain.unmap(A, 2, 2), Err(Errno::ENOMEM));
    // What takes no room still works, and gives some.
    domain.map(A, 5, 9).unwrap();
    assert_eq!(domain.held(A), RANGES_PER_SERVER - 1);
    domain.map(A, 1_000_000, 1_000_000).unwrap();
    assert_eq!(domain.map(A, 2_000_000, 2_000_000), Err(Errno::ENOMEM));
    // Another server has room of its own.
    domain.map(B, 2_000_000, 2_000_000).unwrap();
    let _ = domain.servers.destroy(A, None).unwrap();
    assert_eq!((domain.held(B), domain.servers.ranges.len()), (1, 1));
}

#[test]
fn all_servers_have_so_many_ranges_and_no_more() {
    let mut domain = with_servers(9);
    let range = |number: u64| (number * 2, number * 2);
    for number in 0..RANGES as u64 {
        let (first, last) = range(number);
        assert_eq!(domain.map(ServerId((number % 8) as u16), first, last), Ok(()), "{number}");
    }
    let (last, _) = range(RANGES as u64);
    assert_eq!(domain.map(ServerId(8), last, last), Err(Errno::ENOMEM));
    assert_eq!(domain.unmap(A, 0, 0), Ok(()));
    assert_eq!(domain.map(ServerId(8), last, last), Ok(()));
    assert_eq!(domain.map(A, 0, 0), Err(Errno::ENOMEM));
}

/// One call, on a small space so that calls meet.
fn call() -> impl Strategy<Value = (bool, u16, u64, u64)> {
    (any::<bool>(), 0u16..3, 0u64..48, 0u64..12)
        .prop_map(|(map, server, first, length)| (map, server, first, (first + length).saturating_sub(1)))
}

proptest! {
    /// Against an array that says for each address whose it is.
    #[test]
    fn the_ranges_are_a_map_of_addresses(calls in prop::collection::vec(call(), 0..60)) {
        let mut domain = with_servers(3);
        let mut owners = [None::<ServerId>; 64];
        for (map, server, first, last) in calls {
            let server = ServerId(server);
            let touched = owners.get_mut(first as usize..=last as usize);
            let (before, after, refusal) = match map {
                true => (None, Some(server), Errno::EEXIST),
                false => (Some(server), None, Errno::ENOENT),
            };
            let expected = match touched {
                _ if last < first => Err(Errno::EINVAL),
                Some(touched) if touched.iter().all(|&owner| owner == before) => {
                    touched.fill(after);
                    Ok(())
                }
                _ => Err(refusal),
            };
            let done = if map { domain.map(server, first, last) } else { domain.unmap(server, first, last) };
            prop_assert_eq!(done, expected);
            for server in (0..3).map(ServerId) {
                domain.held(server);
            }
            for (address, owner) in (0u64..).zip(owners) {
                prop_assert_eq!(domain.servers.ranges.find(address).map(|range| range.value), owner);
            }
        }
    }
}
