//! One request's life: what the slot says, each way in which it can end, and what does not end it.

use super::support::*;
use crate::event::Port;
use crate::ioreq::{Completed, Outcome, Posted, Request, ServerId};
use xenolith_abi::ioreq::Slot;
use xenolith_core::types::{Gfn, VcpuId};
use xenolith_memory::stale::StalePages;

/// A page that has left the guest.
const STALE: StalePages = StalePages::page(Gfn(5));

/// A domain with one server, and a request of vCPU 0 in flight.
fn asked(request: &Request) -> (Domain, ServerId, Port) {
    let mut domain = Domain::new(GUEST_VCPUS);
    let id = domain.serve();
    let Posted::Notify(port) = domain.servers.post(V0, id, request) else { panic!("refused") };
    assert!(domain.servers.is_waiting(V0));
    (domain, id, port)
}

#[test]
fn the_slot_says_what_is_asked() {
    let (mut domain, id, port) = asked(&write(0x10, 2, 0x1234_5678));
    assert_eq!(port, Port(1));
    let slot = Slot { addr: 0x10, data: 0x5678, count: 1, size: 2, vp_eport: 1, pad: 0, flags: 1, kind: 1 };
    assert_eq!(domain.slot(id, V0), slot);
    let (mut domain, id, _) = asked(&read(0x18, 8));
    let slot = Slot { addr: 0x18, data: 0, size: 8, flags: 0x21, ..slot };
    assert_eq!(domain.slot(id, V0), slot);
}

#[test]
fn an_answer_is_cut_to_the_size_and_fetched_once() {
    for (size, data) in [(1, 0x88), (2, 0x7788), (4, 0x5566_7788), (8, 0x1122_3344_5566_7788)] {
        let (mut domain, id, port) = asked(&read(0x10, size));
        let tag = domain.tag(port);
        assert_eq!(domain.servers.take_result(V0), None);
        domain.answer(id, V0, 2, 0);
        assert_eq!(domain.servers.on_response(tag, V0), Outcome::Nothing);
        domain.answer(id, V0, 3, 0x1122_3344_5566_7788);
        assert_eq!(domain.servers.on_response(tag, V0), Outcome::Finished);
        assert_eq!(domain.slot(id, V0).flags, 0);
        assert!(!domain.servers.is_waiting(V0));
        assert_eq!(domain.servers.on_response(tag, V0), Outcome::Nothing);
        assert_eq!(domain.servers.take_result(V0), Some(Completed { data, answered: true }));
        assert_eq!(domain.servers.take_result(V0), None);
    }
}

#[test]
fn a_write_has_no_value() {
    let (mut domain, id, port) = asked(&write(0x10, 4, 9));
    domain.answer(id, V0, 3, 0x1234);
    assert_eq!(domain.servers.on_response(domain.tag(port), V0), Outcome::Finished);
    assert_eq!(domain.servers.take_result(V0), Some(Completed { data: 0, answered: true }));
}

#[test]
fn every_state_of_the_slot_ends_the_wait_or_leaves_it() {
    for state in 0..16 {
        let (mut domain, id, port) = asked(&read(0x10, 4));
        domain.answer(id, V0, state, 7);
        let expected = if state == 1 || state == 2 { Outcome::Nothing } else { Outcome::Finished };
        assert_eq!(domain.servers.on_response(domain.tag(port), V0), expected, "state {state}");
        let result = domain.servers.take_result(V0);
        match state {
            1 | 2 => assert!(result.is_none() && domain.servers.is_waiting(V0)),
            3 => assert_eq!(result, Some(Completed { data: 7, answered: true })),
            _ => assert_eq!(result, Some(Completed { data: 0xffff_ffff, answered: false })),
        }
        if state != 1 && state != 2 {
            assert_eq!(domain.slot(id, V0).flags & 0xf, 0);
        }
    }
}

#[test]
fn nothing_but_state_and_data_is_read_back() {
    let (mut domain, id, port) = asked(&read(0x10, 1));
    let slot = Slot {
        addr: u64::MAX,
        data: 0xabcd,
        count: u32::MAX,
        size: 8,
        vp_eport: u32::MAX,
        pad: 0xffff,
        flags: 0xf3,
        kind: 0xff,
    };
    domain.set_slot(id, V0, &slot);
    assert_eq!(domain.servers.on_response(domain.tag(port), V0), Outcome::Finished);
    assert_eq!(domain.servers.take_result(V0), Some(Completed { data: 0xcd, answered: true }));
    // The next request finds its slot repaired.
    assert_eq!(domain.servers.post(V0, id, &read(0x20, 2)), Posted::Notify(port));
    let slot =
        Slot { addr: 0x20, data: 0, count: 1, size: 2, vp_eport: port.0, pad: 0, flags: 0x21, kind: 1 };
    assert_eq!(domain.slot(id, V0), slot);
}

#[test]
fn one_request_at_a_time_for_each_vcpu() {
    let (mut domain, id, _) = asked(&read(0x10, 1));
    let second = domain.serve();
    assert_eq!(domain.servers.post(V0, id, &read(0, 1)), Posted::Refused);
    assert_eq!(domain.servers.post(V0, second, &read(0, 1)), Posted::Refused);
    assert_eq!(domain.servers.post(V1, id, &read(0, 1)), Posted::Notify(Port(2)));
    assert!(domain.servers.post_invalidate(V0, &STALE).is_empty());
}

#[test]
fn what_nobody_would_answer_is_refused() {
    let mut domain = Domain::new(GUEST_VCPUS);
    let id = domain.create(OWNER);
    assert_eq!(domain.servers.post(V0, id, &read(0, 1)), Posted::Refused);
    domain.enable(id).unwrap();
    for size in (0..=u8::MAX).filter(|size| ![1, 2, 4, 8].contains(size)) {
        assert_eq!(domain.servers.post(V0, id, &read(0, size)), Posted::Refused);
    }
    assert_eq!(domain.servers.post(V0, ServerId(1), &read(0, 1)), Posted::Refused);
    assert_eq!(domain.servers.post(V0, ServerId(u16::MAX), &read(0, 1)), Posted::Refused);
    assert_eq!(domain.servers.post(VcpuId(GUEST_VCPUS), id, &read(0, 1)), Posted::Refused);
    assert_eq!(domain.servers.post(VcpuId(u16::MAX), id, &read(0, 1)), Posted::Refused);
    assert!(!domain.servers.is_waiting(V0));
    assert_eq!(domain.servers.take_result(V0), None);
}

#[test]
fn only_the_server_that_was_asked_can_answer() {
    let (mut domain, id, port) = asked(&read(0x10, 4));
    let second = domain.serve();
    domain.answer(second, V0, 3, 1);
    let seconds = domain.tag(Port(u32::from(GUEST_VCPUS) + 1));
    assert_eq!(domain.servers.on_response(seconds, V0), Outcome::Nothing);
    assert_eq!(domain.servers.on_peer_closed(seconds, V0), Outcome::Nothing);
    // Nor does an event at another vCPU's port.
    domain.answer(id, V1, 3, 2);
    assert_eq!(domain.servers.on_response(domain.tag(Port(2)), V1), Outcome::Nothing);
    domain.answer(id, V0, 3, 3);
    assert_eq!(domain.servers.on_response(domain.tag(port), V0), Outcome::Finished);
    assert_eq!(domain.servers.take_result(V0).unwrap().data, 3);
}

#[test]
fn the_end_of_the_server_ends_the_wait() {
    for state in 0..16 {
        let (mut domain, id, port) = asked(&read(0x10, 2));
        assert_eq!(domain.servers.post(V1, id, &write(0, 1, 1)), Posted::Notify(Port(2)));
        domain.answer(id, V0, state, 7);
        let removed = domain.servers.destroy(id, Some(OWNER)).unwrap();
        assert!(removed.released.iter().eq([V0, V1]));
        drop(removed);
        assert_eq!(domain.servers.take_result(V0), Some(Completed { data: 0xffff, answered: false }));
        assert_eq!(domain.servers.take_result(V1), Some(Completed { data: 0, answered: false }));
        // News of the old port does not reach a server that has the number now.
        assert_eq!(domain.serve(), id);
        let old = domain.tag(port);
        assert!(matches!(domain.servers.post(V0, id, &read(0, 1)), Posted::Notify(_)));
        domain.answer(id, V0, 3, 7);
        assert_eq!(domain.servers.on_response(old, V0), Outcome::Nothing);
        assert_eq!(domain.servers.on_peer_closed(old, V0), Outcome::Nothing);
        assert!(domain.servers.is_waiting(V0));
    }
}

#[test]
fn a_lost_port_ends_the_wait_and_refuses_until_it_is_bound_again() {
    let (mut domain, id, port) = asked(&read(0x10, 1));
    let tag = domain.tag(port);
    assert_eq!(domain.servers.on_peer_closed(tag, V0), Outcome::Finished);
    assert_eq!(domain.servers.on_peer_closed(tag, V0), Outcome::Nothing);
    assert_eq!(domain.servers.take_result(V0), Some(Completed { data: 0xff, answered: false }));
    assert_eq!(domain.servers.post(V0, id, &read(0x10, 1)), Posted::Refused);
    assert!(domain.servers.post_invalidate(V0, &STALE).is_empty());
    assert_eq!(domain.servers.post(V1, id, &read(0x10, 1)), Posted::Notify(Port(2)));
    domain.servers.on_peer_bound(tag, V0);
    assert_eq!(domain.servers.post(V0, id, &read(0x10, 1)), Posted::Notify(port));
}

#[test]
fn a_server_is_deserted_when_the_last_bound_port_is_lost() {
    let mut domain = Domain::new(3);
    let id = domain.serve();
    let tags = [1, 2, 3].map(|port| domain.tag(Port(port)));
    assert!(domain.servers.destroy_deserted(tags[0]).is_none(), "nobody has come yet");
    domain.servers.on_peer_bound(tags[0], V0);
    domain.servers.on_peer_bound(tags[1], V1);
    // The third port is never bound, and its vCPU asks nevertheless.
    assert!(matches!(domain.servers.post(VcpuId(2), id, &read(0, 1)), Posted::Notify(_)));
    assert_eq!(domain.servers.on_peer_closed(tags[0], V0), Outcome::Nothing);
    assert!(domain.servers.destroy_deserted(tags[0]).is_none());
    assert_eq!(domain.servers.on_peer_closed(tags[1], V1), Outcome::Nothing);
    let (ended, removed) = domain.servers.destroy_deserted(tags[1]).unwrap();
    assert_eq!(ended, id);
    assert!(removed.released.iter().eq([VcpuId(2)]));
    assert!(domain.servers.destroy_deserted(tags[1]).is_none());
    // Late news of the old server does not end its successor.
    domain.serve();
    assert!(domain.servers.destroy_deserted(tags[1]).is_none());
    assert!(domain.servers.has_servers());
}

#[test]
fn a_server_that_is_turned_off_still_answers() {
    let (mut domain, id, port) = asked(&read(0x10, 1));
    domain.servers.set_enabled(id, OWNER, false, || None).unwrap();
    assert_eq!(domain.servers.post(V1, id, &read(0, 1)), Posted::Refused);
    domain.answer(id, V0, 3, 5);
    assert_eq!(domain.servers.on_response(domain.tag(port), V0), Outcome::Finished);
    assert_eq!(domain.servers.take_result(V0).unwrap().data, 5);
}

#[test]
fn an_invalidation_waits_for_every_enabled_server() {
    let mut domain = Domain::new(GUEST_VCPUS);
    let servers: Vec<ServerId> = (0..3).map(|_| domain.serve()).collect();
    let off = domain.create(OWNER);
    let ports = domain.servers.post_invalidate(V1, &STALE);
    assert_eq!(ports.as_slice(), [Port(2), Port(4), Port(6)]);
    let slot = Slot { addr: 0x5000, data: 1, count: 1, size: 4, vp_eport: 4, pad: 0, flags: 1, kind: 8 };
    assert_eq!(domain.slot(servers[1], V1), slot);
    assert_eq!(domain.slot(off, V1).flags, 0);
    assert_eq!(domain.servers.post(V1, servers[0], &read(0, 1)), Posted::Refused);
    // One answers, one answers nonsense, one is destroyed.
    domain.answer(servers[1], V1, 3, 0);
    assert_eq!(domain.servers.on_response(domain.tag(Port(4)), V1), Outcome::Nothing);
    domain.answer(servers[0], V1, 9, 0);
    assert_eq!(domain.servers.on_response(domain.tag(Port(2)), V1), Outcome::Nothing);
    assert!(domain.servers.is_waiting(V1));
    let removed = domain.servers.destroy(servers[2], None).unwrap();
    assert!(removed.released.iter().eq([V1]));
    assert!(!domain.servers.is_waiting(V1));
    assert_eq!(domain.servers.take_result(V1), None);
}

#[test]
fn with_no_enabled_server_an_invalidation_is_nothing() {
    let mut domain = Domain::new(1);
    assert!(domain.servers.post_invalidate(V0, &STALE).is_empty());
    domain.create(OWNER);
    assert!(domain.servers.post_invalidate(V0, &STALE).is_empty());
    assert!(!domain.servers.is_waiting(V0));
}

#[test]
fn a_result_that_was_not_fetched_does_not_stand_in_the_way() {
    let (mut domain, id, port) = asked(&read(0x10, 1));
    assert_eq!(domain.servers.on_peer_closed(domain.tag(port), V0), Outcome::Finished);
    domain.servers.on_peer_bound(domain.tag(port), V0);
    assert_eq!(domain.servers.post(V0, id, &read(0x10, 1)), Posted::Notify(port));
    assert_eq!(domain.servers.take_result(V0), None);
}

#[test]
fn the_last_of_the_most_vcpus_has_its_own_slot() {
    let mut domain = Domain::new(128);
    let id = domain.serve();
    let last = VcpuId(127);
    assert_eq!(domain.servers.post(last, id, &write(0x20, 1, 3)), Posted::Notify(Port(128)));
    assert_eq!(domain.slot(id, last).addr, 0x20);
    assert_eq!(domain.slot(id, VcpuId(126)).flags, 0);
}
