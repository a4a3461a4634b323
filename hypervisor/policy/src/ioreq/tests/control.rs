//! Making, asking, enabling and ending servers, and their frames.

use super::support::*;
use crate::event::{ConsumerTag, Port};
use crate::ioreq::control::Info;
use crate::ioreq::{Buffering, SERVERS, ServerId, Servers, Space, is_ours};
use xenolith_abi::Errno;
use xenolith_core::types::{DomId, VcpuId};

#[test]
fn a_domain_without_servers_holds_nothing() {
    let domain = Domain::new(128);
    assert!(!domain.servers.has_servers());
    assert_eq!((domain.servers.places.capacity(), domain.servers.waits.capacity()), (0, 0));
    assert_eq!(domain.servers.route(Space::Mmio, 0, 0), None);
    assert!(!domain.servers.is_waiting(V0));
    assert_eq!(domain.servers.any(), None);
    assert!(Servers::<Frame>::new(0).is_err() && Servers::<Frame>::new(129).is_err());
}

#[test]
fn a_server_has_a_port_for_each_vcpu_and_one_for_its_ring() {
    let mut domain = Domain::new(3);
    let plain = domain.create(OWNER, None);
    let ringed = domain.create(OWNER, Some(Buffering::Atomic));
    assert_eq!((plain, ringed), (ServerId(0), ServerId(1)));
    let vcpus: Vec<u16> = domain.ports.iter().map(|port| port.0.0).collect();
    assert_eq!(vcpus, [0, 1, 2, 0, 1, 2, 0]);
    assert!(domain.ports.iter().all(|&(_, tag)| is_ours(tag)));
    let off = Info { enabled: false, buffered_port: None };
    assert_eq!(domain.servers.info(plain, OWNER), Ok(off));
    assert_eq!(domain.servers.info(ringed, OWNER), Ok(Info { buffered_port: Some(Port(7)), ..off }));
    domain.enable(plain).unwrap();
    assert_eq!(domain.servers.info(plain, OWNER), Ok(Info { enabled: true, ..off }));
}

#[test]
fn so_many_servers_and_no_more() {
    let mut domain = Domain::new(1);
    for number in 0..SERVERS as u16 {
        assert_eq!(domain.create(OWNER, None), ServerId(number));
    }
    let error = domain.servers.create(OWNER, None, |_, _| panic!("no port is asked for")).unwrap_err();
    assert_eq!((error.errno, error.ports.len()), (Errno::ENOSPC, 0));
    domain.servers.destroy(ServerId(5), Some(OWNER)).unwrap().frames.clear();
    assert_eq!(domain.create(OWNER, None), ServerId(5));
}

#[test]
fn a_port_that_cannot_be_made_hands_back_the_others() {
    let mut domain = Domain::new(4);
    let mut next = 10;
    let error = domain
        .servers
        .create(OWNER, None, |vcpu, _| {
            next += 1;
            if vcpu == VcpuId(2) { Err(Errno::ENOSPC) } else { Ok(Port(next)) }
        })
        .unwrap_err();
    assert_eq!((error.errno, error.ports), (Errno::ENOSPC, vec![Port(11), Port(12)]));
    assert!(!domain.servers.has_servers());
    assert_eq!(domain.create(OWNER, None), ServerId(0));
}

#[test]
fn only_the_creator_may_act_and_only_on_what_exists() {
    let mut domain = Domain::new(1);
    let id = domain.create(OWNER, Some(Buffering::Atomic));
    let cases = [
        (ServerId(1), OWNER, Errno::ENOENT),
        (ServerId(99), OWNER, Errno::ENOENT),
        (id, OTHER, Errno::EPERM),
    ];
    for (id, by, errno) in cases {
        let servers = &mut domain.servers;
        let none = || -> Option<Frame> { panic!("no frame is asked for") };
        assert_eq!(servers.info(id, by), Err(errno));
        assert_eq!(servers.set_enabled(id, by, true, none), Err(errno));
        assert_eq!(servers.map_range(id, by, Space::Mmio, 0, 1), Err(errno));
        assert_eq!(servers.unmap_range(id, by, Space::Mmio, 0, 1), Err(errno));
        assert_eq!(servers.frame(id, by, 1, none).err(), Some(errno));
        assert_eq!(servers.destroy(id, Some(by)).err(), Some(errno));
    }
    let _ = domain.servers.destroy(id, None).unwrap();
    assert_eq!(domain.servers.destroy(id, None).err(), Some(Errno::ENOENT));
}

#[test]
fn frames_are_made_once_zeroed_and_tell_the_ports() {
    let mut domain = Domain::new(GUEST_VCPUS);
    assert_eq!(domain.servers.resource_frames(), 2);
    let plain = domain.create(OWNER, None);
    let ringed = domain.create(OWNER, Some(Buffering::Legacy));
    assert_eq!(domain.frames_held(), 0);
    assert_eq!(domain.frame(plain, OWNER, 0).err(), Some(Errno::ENOENT));
    for index in [2, 3, u64::MAX] {
        assert_eq!(domain.frame(ringed, OWNER, index).err(), Some(Errno::EINVAL));
    }
    let slots = domain.frame(plain, OWNER, 1).unwrap();
    assert_eq!(domain.frame(plain, OWNER, 1), Ok(slots));
    assert_eq!((domain.slot(plain, V0).vp_eport, domain.slot(plain, V1).vp_eport), (1, 2));
    let mut bytes = [1; 24];
    assert!(slots.read(0, &mut bytes) && bytes == [0; 24]);
    assert_eq!(domain.frames_held(), 1);
    domain.enable(ringed).unwrap();
    assert_eq!(domain.frames_held(), 3);
    assert_eq!(domain.slot(ringed, V1).vp_eport, 4);
    let ring = domain.frame(ringed, OWNER, 0).unwrap();
    assert!(ring.read(0, &mut bytes) && bytes == [0; 24]);
    assert_eq!(domain.frames_held(), 3);
}

#[test]
fn no_memory_for_a_page_leaves_the_server_off() {
    let mut domain = Domain::new(1);
    let id = domain.create(OWNER, Some(Buffering::Legacy));
    assert_eq!(domain.servers.set_enabled(id, OWNER, true, || None), Err(Errno::ENOMEM));
    assert_eq!(domain.servers.frame(id, OWNER, 0, || None).err(), Some(Errno::ENOMEM));
    assert_eq!(domain.servers.frame(id, OWNER, 1, || None).err(), Some(Errno::ENOMEM));
    let mut left = 1;
    let mut alloc = || (left > 0).then(|| left -= 1).map(|()| Frame::new(&domain.held));
    assert_eq!(domain.servers.set_enabled(id, OWNER, true, &mut alloc), Err(Errno::ENOMEM));
    assert!(!domain.servers.info(id, OWNER).unwrap().enabled);
    domain.enable(id).unwrap();
    assert_eq!(domain.frames_held(), 2);
}

#[test]
fn enabling_again_repairs_the_ports() {
    let mut domain = Domain::new(1);
    let id = domain.serve();
    domain.set_slot(id, V0, &xenolith_abi::ioreq::Slot { vp_eport: 77, ..Default::default() });
    domain.enable(id).unwrap();
    assert_eq!(domain.slot(id, V0).vp_eport, 1);
}

#[test]
fn what_is_left_of_a_server_is_handed_back() {
    let mut domain = Domain::new(2);
    let id = domain.create(OWNER, Some(Buffering::Atomic));
    domain.enable(id).unwrap();
    domain.servers.map_range(id, OWNER, Space::Port, 0, 9).unwrap();
    let removed = domain.servers.destroy(id, Some(OWNER)).unwrap();
    assert_eq!(removed.ports, [Port(1), Port(2), Port(3)]);
    assert_eq!(removed.frames.len(), 2);
    assert!(removed.released.is_empty());
    drop(removed);
    assert_eq!(domain.frames_held(), 0);
    assert!(!domain.servers.has_servers());
    // Its ranges are free, and a new server of its number does not have them.
    let heir = domain.serve();
    assert_eq!(heir, id);
    assert_eq!(domain.servers.route(Space::Port, 0x200, 0x200), None);
}

#[test]
fn servers_are_found_by_their_owner() {
    let mut domain = Domain::new(1);
    let ours = domain.create(OWNER, None);
    let others = domain.create(OTHER, None);
    assert_eq!(domain.servers.owned_by(OWNER), Some(ours));
    assert_eq!(domain.servers.owned_by(OTHER), Some(others));
    assert_eq!(domain.servers.owned_by(DomId(9)), None);
    let _ = domain.servers.destroy(ours, None).unwrap();
    assert_eq!(domain.servers.owned_by(OWNER), None);
    assert_eq!(domain.servers.any(), Some(others));
}

#[test]
fn spaces_are_apart_and_only_enabled_servers_are_found() {
    let mut domain = Domain::new(1);
    let a = domain.create(OWNER, None);
    let b = domain.create(OTHER, None);
    domain.servers.map_range(a, OWNER, Space::Mmio, 0, 9).unwrap();
    domain.servers.map_range(b, OTHER, Space::Port, 0, 9).unwrap();
    assert_eq!(domain.servers.map_range(b, OTHER, Space::Mmio, 9, 9), Err(Errno::EEXIST));
    assert_eq!(domain.servers.unmap_range(b, OTHER, Space::Mmio, 9, 9), Err(Errno::ENOENT));
    assert_eq!(domain.servers.route(Space::Mmio, 0, 3), None);
    domain.enable(a).unwrap();
    assert_eq!(domain.servers.route(Space::Mmio, 0, 3), Some(a));
    assert_eq!(domain.servers.route(Space::Port, 0, 3), None);
    assert_eq!(domain.servers.route(Space::PciConfig, 0, 3), None);
    domain.servers.set_enabled(a, OWNER, false, || None).unwrap();
    assert_eq!(domain.servers.route(Space::Mmio, 0, 3), None);
    domain.servers.unmap_range(a, OWNER, Space::Mmio, 0, 9).unwrap();
    domain.servers.map_range(b, OTHER, Space::Mmio, 9, 9).unwrap();
}

#[test]
fn ranges_of_all_spaces_count_together() {
    let mut domain = Domain::new(1);
    let id = domain.create(OWNER, None);
    for number in 0..1024u64 {
        let space = Space::ALL[number as usize % 3];
        domain.servers.map_range(id, OWNER, space, number * 2, number * 2).unwrap();
    }
    assert_eq!(domain.servers.map_range(id, OWNER, Space::Mmio, 9000, 9000), Err(Errno::ENOMEM));
    domain.servers.unmap_range(id, OWNER, Space::Port, 0, 0).unwrap();
    domain.servers.map_range(id, OWNER, Space::Mmio, 9000, 9000).unwrap();
}

#[test]
fn a_mark_of_another_part_is_not_ours() {
    let mut domain = Domain::new(1);
    domain.serve();
    assert!(!is_ours(ConsumerTag(0)));
    assert_eq!(domain.servers.on_peer_closed(ConsumerTag(0), V0), crate::ioreq::Outcome::Nothing);
    assert!(domain.servers.server(ServerId(0)).unwrap().lost.is_empty());
}
