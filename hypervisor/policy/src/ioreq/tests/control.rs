//! Making, asking, enabling and ending servers, and their frames.

use super::support::*;
use crate::event::{ConsumerTag, Port};
use crate::ioreq::{Ports, SERVERS, ServerId, Servers, is_ours};
use xenolith_abi::Errno;
use xenolith_core::types::{DomId, VcpuId};

#[test]
fn a_domain_without_servers_holds_nothing() {
    let domain = Domain::new(128);
    assert!(!domain.servers.has_servers());
    assert_eq!((domain.servers.held_pages(), domain.servers.held_frames()), (0, 0));
    // 16 servers: a page of slots each, and 2048 ranges in all, of which a page has 128.
    assert_eq!((Servers::<Frame>::pages(128), Servers::<Frame>::frames(128)), (16 + 16, 16));
    assert_eq!(domain.route(0), None);
    assert!(!domain.servers.is_waiting(V0));
    assert_eq!(domain.servers.any(), None);
    assert!(Servers::<Frame>::new(0).is_err() && Servers::<Frame>::new(129).is_err());
}

#[test]
fn a_server_has_a_port_for_each_vcpu() {
    let mut domain = Domain::new(3);
    let (first, second) = (domain.create(OWNER), domain.create(OWNER));
    assert_eq!((first, second), (ServerId(0), ServerId(1)));
    let vcpus: Vec<u16> = domain.ports.iter().map(|port| port.0.0).collect();
    assert_eq!(vcpus, [0, 1, 2, 0, 1, 2]);
    assert!(domain.ports.iter().all(|&(_, tag)| is_ours(tag)));
    assert_eq!(domain.servers.require(first, OWNER), Ok(()));
    assert!(!domain.servers.is_enabled(first));
    domain.enable(first).unwrap();
    assert!(domain.servers.is_enabled(first) && !domain.servers.is_enabled(second));
    assert!(!domain.servers.is_enabled(ServerId(2)) && !domain.servers.is_enabled(ServerId(u16::MAX)));
}

#[test]
fn so_many_servers_and_no_more() {
    let mut domain = Domain::new(1);
    for number in 0..SERVERS as u16 {
        assert_eq!(domain.create(OWNER), ServerId(number));
    }
    let refused = domain.servers.create(OWNER, &mut Ports::new(), |_, _| panic!("no port is asked for"));
    assert_eq!(refused, Err(Errno::ENOSPC));
    domain.servers.destroy(ServerId(5), Some(OWNER)).unwrap().frames.clear();
    assert_eq!(domain.create(OWNER), ServerId(5));
}

#[test]
fn a_port_that_cannot_be_made_hands_back_the_others() {
    let mut domain = Domain::new(4);
    let mut next = 10;
    let mut marks = Vec::new();
    let mut made = Ports::new();
    let refused = domain.servers.create(OWNER, &mut made, |vcpu, mark| {
        next += 1;
        marks.push(mark);
        if vcpu == VcpuId(2) { Err(Errno::ENOSPC) } else { Ok(Port(next)) }
    });
    assert_eq!((refused, made.as_slice()), (Err(Errno::ENOSPC), [Port(11), Port(12)].as_slice()));
    assert!(!domain.servers.has_servers());
    // Its ports may be in use until the caller has closed them: the next server's have another mark.
    let next = domain.servers.create(OWNER, &mut Ports::new(), |_, mark| {
        assert!(!marks.contains(&mark));
        Ok(Port(1))
    });
    assert_eq!(next.unwrap(), ServerId(0));
}

#[test]
fn only_the_creator_may_act_and_only_on_what_exists() {
    let mut domain = Domain::new(1);
    let id = domain.create(OWNER);
    let cases = [
        (ServerId(1), OWNER, Errno::ENOENT),
        (ServerId(99), OWNER, Errno::ENOENT),
        (id, OTHER, Errno::EPERM),
    ];
    for (id, by, errno) in cases {
        let servers = &mut domain.servers;
        let none = || -> Option<Frame> { panic!("no frame is asked for") };
        assert_eq!(servers.require(id, by), Err(errno));
        assert_eq!(servers.set_enabled(id, by, true, none), Err(errno));
        assert_eq!(servers.map_range(id, by, 0, 1), Err(errno));
        assert_eq!(servers.unmap_range(id, by, 0, 1), Err(errno));
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
    let first = domain.create(OWNER);
    let second = domain.create(OWNER);
    assert_eq!(domain.frames_held(), 0);
    assert_eq!(domain.frame(first, OWNER, 0).err(), Some(Errno::ENOENT));
    for index in [2, 3, u64::MAX] {
        assert_eq!(domain.frame(first, OWNER, index).err(), Some(Errno::EINVAL));
    }
    let slots = domain.frame(first, OWNER, 1).unwrap();
    assert_eq!(domain.frame(first, OWNER, 1), Ok(slots));
    assert_eq!((domain.slot(first, V0).vp_eport, domain.slot(first, V1).vp_eport), (1, 2));
    let mut bytes = [1; 24];
    assert!(slots.read(0, &mut bytes) && bytes == [0; 24]);
    assert_eq!(domain.frames_held(), 1);
    domain.enable(second).unwrap();
    assert_eq!(domain.frames_held(), 2);
    assert_eq!(domain.slot(second, V1).vp_eport, 4);
    assert_eq!(domain.frames_held(), 2);
}

#[test]
fn no_memory_for_a_page_leaves_the_server_off() {
    // Two pages.
    let mut domain = Domain::new(128);
    let id = domain.create(OWNER);
    assert_eq!(domain.servers.set_enabled(id, OWNER, true, || None), Err(Errno::ENOMEM));
    assert_eq!(domain.servers.frame(id, OWNER, 1, || None).err(), Some(Errno::ENOMEM));
    domain.enable(id).unwrap();
    assert!(domain.servers.is_enabled(id));
    assert_eq!(domain.frames_held(), 1);
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
    let id = domain.create(OWNER);
    domain.enable(id).unwrap();
    domain.servers.map_range(id, OWNER, 0x200, 0x209).unwrap();
    let removed = domain.servers.destroy(id, Some(OWNER)).unwrap();
    assert_eq!(removed.ports.as_slice(), [Port(1), Port(2)]);
    assert_eq!(removed.frames.len(), 1);
    assert!(removed.released.is_empty());
    drop(removed);
    assert_eq!(domain.frames_held(), 0);
    assert!(!domain.servers.has_servers());
    // Its ranges are free, and a new server of its number does not have them.
    let heir = domain.serve();
    assert_eq!(heir, id);
    assert_eq!(domain.route(0x200), None);
}

#[test]
fn servers_are_found_by_their_owner() {
    let mut domain = Domain::new(1);
    let ours = domain.create(OWNER);
    let others = domain.create(OTHER);
    assert_eq!(domain.servers.owned_by(OWNER), Some(ours));
    assert_eq!(domain.servers.owned_by(OTHER), Some(others));
    assert_eq!(domain.servers.owned_by(DomId(9)), None);
    let _ = domain.servers.destroy(ours, None).unwrap();
    assert_eq!(domain.servers.owned_by(OWNER), None);
    assert_eq!(domain.servers.any(), Some(others));
}

#[test]
fn a_range_is_one_servers_until_it_gives_it_back() {
    let mut domain = Domain::new(1);
    let a = domain.create(OWNER);
    let b = domain.create(OTHER);
    domain.servers.map_range(a, OWNER, 0, 9).unwrap();
    assert_eq!(domain.servers.map_range(b, OTHER, 9, 9), Err(Errno::EEXIST));
    assert_eq!(domain.servers.unmap_range(b, OTHER, 9, 9), Err(Errno::ENOENT));
    assert_eq!(domain.route(0), None);
    domain.enable(a).unwrap();
    assert_eq!(domain.route(0), Some(a));
    domain.servers.set_enabled(a, OWNER, false, || None).unwrap();
    assert_eq!(domain.route(0), None);
    domain.servers.unmap_range(a, OWNER, 0, 9).unwrap();
    domain.servers.map_range(b, OTHER, 9, 9).unwrap();
}

#[test]
fn a_mark_of_another_part_is_not_ours() {
    let mut domain = Domain::new(1);
    domain.serve();
    assert!(!is_ours(ConsumerTag(0)));
    assert_eq!(domain.servers.on_peer_closed(ConsumerTag(0), V0), crate::ioreq::Outcome::Nothing);
    assert!(domain.servers.server(ServerId(0)).unwrap().lost.is_empty());
}
