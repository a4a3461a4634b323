//! Each call, what it makes of a port, and the error for each way to misuse it.

use xenolith_abi::Errno;
use xenolith_abi::event::{EventStatus, Virq};

use super::support::{Domain, connect, deliver, run_steps};
use crate::event::{ConsumerTag, Delivery, Ends, EventActions, EventChannels, Port, Sent};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

#[test]
fn a_domain_has_between_1_and_128_vcpus() {
    use super::support::Frame;
    for (vcpus, works) in [(0, false), (1, true), (128, true), (129, false)] {
        assert_eq!(EventChannels::<Frame>::new(DomId(1), vcpus, 10, page()).is_ok(), works);
    }
}

#[test]
fn unbound_ports_are_given_out_from_1_up_to_the_limit() {
    let mut domain = Domain::new(1, 1, 3);
    for port in 1..=3 {
        assert_eq!(domain.channels.alloc_unbound(DomId(7)), Ok(Port(port)));
    }
    assert_eq!(domain.channels.alloc_unbound(DomId(7)), Err(Errno::ENOSPC));
    let status = domain.status(Port(2));
    assert_eq!((status.status, status.vcpu, status.bound_to), (1, 0, 7));
}

#[test]
fn the_form_limits_ports_when_the_domain_does_not() {
    let mut domain = Domain::new(0, 1, u32::MAX);
    for _ in 1..4096 {
        domain.channels.alloc_unbound(DomId(1)).unwrap();
    }
    assert_eq!(domain.channels.alloc_unbound(DomId(1)), Err(Errno::ENOSPC));
    domain.use_fifo(1, 0);
    assert_eq!(domain.channels.alloc_unbound(DomId(1)), Ok(Port(4096)));
}

#[test]
fn a_connection_names_both_ends_and_only_the_new_one_is_pending() {
    let (mut a, mut b) = (Domain::new(0, 1, 100), Domain::new(1, 1, 100));
    b.channels.alloc_unbound(DomId(9)).unwrap();
    let offered = b.channels.alloc_unbound(DomId(0)).unwrap();
    let mut ends = Ends::Two { local: &mut a.channels, remote: &mut b.channels };
    let (port, effects) = ends.bind_interdomain(offered).unwrap();
    assert!(effects.notify.iter().eq([V0]));
    let (near, far) = (a.status(port), b.status(offered));
    assert_eq!((near.status, near.bound_to, near.remote_port), (2, 1, offered));
    assert_eq!((far.status, far.bound_to, far.remote_port), (2, 0, port));
    assert!(a.pending_bit(port) && !b.pending_bit(offered));
}

#[test]
fn only_an_unbound_port_for_the_caller_can_be_connected() {
    let (mut a, mut b) = (Domain::new(0, 1, 1), Domain::new(1, 1, 100));
    let for_other = b.channels.alloc_unbound(DomId(9)).unwrap();
    let ipi = b.channels.bind_ipi(V0).unwrap();
    let for_a = b.channels.alloc_unbound(DomId(0)).unwrap();
    let also_for_a = b.channels.alloc_unbound(DomId(0)).unwrap();
    let mut bind = |port| {
        let mut ends = Ends::Two { local: &mut a.channels, remote: &mut b.channels };
        ends.bind_interdomain(port).map(|(port, _)| port)
    };
    for port in [Port(0), for_other, ipi, Port(5), Port(64), Port(u32::MAX)] {
        assert_eq!(bind(port), Err(Errno::EINVAL), "{port}");
    }
    assert_eq!(bind(for_a), Ok(Port(1)));
    assert_eq!(bind(for_a), Err(Errno::EINVAL));
    assert_eq!(bind(also_for_a), Err(Errno::ENOSPC));
    assert_eq!(b.state(also_for_a), EventStatus::Unbound);
}

#[test]
fn a_domain_connects_to_itself() {
    let mut domain = Domain::new(3, 1, 100);
    let offered = domain.channels.alloc_unbound(DomId(3)).unwrap();
    let (port, _) = Ends::Loopback(&mut domain.channels).bind_interdomain(offered).unwrap();
    assert_ne!(port, offered);
    let Ok(Sent::To(peer)) = domain.channels.send(port) else { panic!() };
    assert_eq!((peer.domain, peer.port), (DomId(3), offered));
    let _ = deliver(&mut domain, peer);
    assert!(domain.pending_bit(offered));
    let peer = domain.channels.close(port).unwrap().unwrap();
    domain.channels.disconnect(peer);
    assert_eq!(domain.state(offered), EventStatus::Unbound);
    assert_eq!(domain.status(offered).bound_to, 3);
}

#[test]
fn a_virtual_interrupt_has_one_port() {
    let mut domain = Domain::new(0, 2, 100);
    let channels = &mut domain.channels;
    let console = Virq::Console.number();
    assert_eq!(channels.bind_virq(console, V1), Err(Errno::EINVAL));
    assert_eq!(channels.bind_virq(Virq::COUNT, V0), Err(Errno::EINVAL));
    assert_eq!(channels.bind_virq(u32::MAX, V0), Err(Errno::EINVAL));
    assert_eq!(channels.bind_virq(Virq::Timer.number(), VcpuId(2)), Err(Errno::ENOENT));
    assert_eq!(channels.bind_virq(console, V0), Ok(Port(1)));
    assert_eq!(channels.bind_virq(console, V0), Err(Errno::EEXIST));
    assert_eq!(channels.bind_virq(Virq::Timer.number(), V0), Ok(Port(2)));
    assert_eq!(channels.bind_virq(Virq::Timer.number(), V1), Ok(Port(3)));
    assert_eq!(channels.close(Port(3)), Ok(None));
    assert_eq!(channels.bind_virq(Virq::Timer.number(), V1), Ok(Port(3)));
    let status = domain.status(Port(3));
    assert_eq!((status.status, status.vcpu, status.bound_to), (4, 1, 0));
}

#[test]
fn a_moved_interrupt_of_the_domain_stays_bound_and_can_be_bound_again_after_close() {
    let mut domain = Domain::new(0, 2, 100);
    let _ = domain.register_vcpu_infos(2);
    let port = domain.channels.bind_virq(Virq::DomExc.number(), V0).unwrap();
    domain.channels.bind_vcpu(port, V1).unwrap();
    assert!(domain.channels.raise_virq(Virq::DomExc, V0).notify.iter().eq([V1]));
    domain.channels.close(port).unwrap();
    assert_eq!(domain.channels.raise_virq(Virq::DomExc, V0), EventActions::default());
    assert_eq!(domain.channels.bind_virq(Virq::DomExc.number(), V0), Ok(port));
}

#[test]
fn signals_between_vcpus_are_sent_at_home() {
    let mut domain = Domain::new(0, 2, 100);
    let _ = domain.register_vcpu_infos(2);
    assert_eq!(domain.channels.bind_ipi(VcpuId(2)), Err(Errno::ENOENT));
    let port = domain.channels.bind_ipi(V1).unwrap();
    let Ok(Sent::Here(effects)) = domain.channels.send(port) else { panic!() };
    assert!(effects.notify.iter().eq([V1]));
    assert_eq!(domain.state(port), EventStatus::Ipi);
}

#[test]
fn what_cannot_be_sent_is_refused_or_ignored() {
    let mut domain = Domain::new(0, 1, 100);
    let virq = domain.channels.bind_virq(Virq::Console.number(), V0).unwrap();
    let unbound = domain.channels.alloc_unbound(DomId(1)).unwrap();
    let own = domain.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    for port in [virq, own, Port(0), Port(50), Port(64), Port(u32::MAX)] {
        assert_eq!(domain.channels.send(port), Err(Errno::EINVAL), "{port}");
    }
    assert_eq!(domain.channels.send(unbound), Ok(Sent::Nowhere));
}

#[test]
fn close_leaves_the_peer_unbound_for_the_closer_who_may_connect_again() {
    let (mut a, mut b) = (Domain::new(0, 1, 100), Domain::new(1, 1, 100));
    let (port, offered) = connect(&mut a, &mut b);
    for bad in [Port(0), Port(40), Port(64), Port(u32::MAX)] {
        assert_eq!(a.channels.close(bad), Err(Errno::EINVAL), "{bad}");
    }
    let peer = a.channels.close(port).unwrap().unwrap();
    b.channels.disconnect(peer);
    assert_eq!(a.state(port), EventStatus::Closed);
    assert_eq!((b.state(offered), b.status(offered).bound_to), (EventStatus::Unbound, 0));
    assert_eq!(b.channels.send(offered), Ok(Sent::Nowhere));
    assert!(!a.pending_bit(port));
    let mut ends = Ends::Two { local: &mut a.channels, remote: &mut b.channels };
    assert_eq!(ends.bind_interdomain(offered).unwrap().0, port);
}

#[test]
fn a_late_message_about_an_old_connection_does_not_touch_the_new_one() {
    let (mut a, mut b) = (Domain::new(0, 1, 100), Domain::new(1, 1, 100));
    let (port, offered) = connect(&mut a, &mut b);
    let Ok(Sent::To(late_event)) = a.channels.send(port) else { panic!() };
    let late_close = a.channels.close(port).unwrap().unwrap();
    b.channels.close(offered).unwrap();
    assert_eq!(connect(&mut a, &mut b), (port, offered));
    assert_eq!(b.channels.deliver(late_event), Delivery::Guest(EventActions::default()));
    b.channels.disconnect(late_close);
    assert!(!b.pending_bit(offered));
    assert_eq!(b.state(offered), EventStatus::Interdomain);
}

#[test]
fn only_ports_without_a_vcpu_of_their_own_move() {
    let (mut a, mut b) = (Domain::new(0, 2, 100), Domain::new(1, 1, 100));
    let (connected, _) = connect(&mut a, &mut b);
    let unbound = a.channels.alloc_unbound(DomId(1)).unwrap();
    let timer = a.channels.bind_virq(Virq::Timer.number(), V0).unwrap();
    let ipi = a.channels.bind_ipi(V0).unwrap();
    let own = a.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    for port in [timer, ipi, own, Port(0), Port(30), Port(64)] {
        assert_eq!(a.channels.bind_vcpu(port, V1), Err(Errno::EINVAL), "{port}");
    }
    for port in [connected, unbound] {
        assert_eq!(a.channels.bind_vcpu(port, VcpuId(2)), Err(Errno::ENOENT));
        assert_eq!(a.channels.bind_vcpu(port, V1), Ok(()));
        assert_eq!(a.status(port).vcpu, 1);
    }
}

#[test]
fn status_tells_about_every_port_of_the_guest() {
    let mut domain = Domain::new(0, 1, 100);
    let mut status = xenolith_abi::event::Status { port: Port(1), ..Default::default() };
    assert_eq!(domain.channels.status(&mut status), Err(Errno::EINVAL));
    let own = domain.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    status.port = own;
    assert_eq!(domain.channels.status(&mut status), Err(Errno::EACCES));
    status.port = Port(127);
    assert_eq!(domain.channels.status(&mut status), Ok(()));
    assert_eq!(status.status, EventStatus::Closed.number());
    status.port = Port(128);
    assert_eq!(domain.channels.status(&mut status), Err(Errno::EINVAL));
}

#[test]
fn a_consumer_port_is_the_hypervisors_and_works_in_both_directions() {
    let (mut control, mut guest) = (Domain::new(0, 1, 100), Domain::new(1, 2, 100));
    assert_eq!(guest.channels.alloc_consumer(VcpuId(2), DomId(0), ConsumerTag(9)), Err(Errno::ENOENT));
    let own = guest.channels.alloc_consumer(V1, DomId(0), ConsumerTag(9)).unwrap();
    assert_eq!(guest.channels.consumer_peer(own), None);
    let mut ends = Ends::Two { local: &mut control.channels, remote: &mut guest.channels };
    let (port, _) = ends.bind_interdomain(own).unwrap();
    let Ok(Sent::To(peer)) = control.channels.send(port) else { panic!() };
    assert_eq!(guest.channels.deliver(peer), Delivery::Consumer(ConsumerTag(9), V1));
    let peer = guest.channels.consumer_peer(own).unwrap();
    assert_eq!((peer.domain, peer.port), (DomId(0), port));
    let _ = deliver(&mut control, peer);
    assert!(control.pending_bit(port));

    assert_eq!(guest.channels.close(own), Err(Errno::EINVAL));
    assert_eq!(guest.channels.unmask(own), Ok(EventActions::default()));
    control.channels.disconnect(guest.channels.close_consumer(own).unwrap().unwrap());
    assert_eq!(control.state(port), EventStatus::Unbound);
    assert_eq!(guest.channels.close_consumer(own), Err(Errno::EINVAL));
}

#[test]
fn reset_closes_what_is_the_guests() {
    let (mut a, mut b) = (Domain::new(0, 1, 1000), Domain::new(1, 1, 1000));
    let own = a.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    let pairs: Vec<_> = (0..100).map(|_| connect(&mut a, &mut b)).collect();
    a.channels.bind_virq(Virq::Console.number(), V0).unwrap();
    let (control, _) = a.use_fifo(1, 2);
    let _ = a.register_vcpu_infos(1);
    assert_eq!(a.frames_held(), 4);
    for peer in run_steps(&mut a.channels, EventChannels::reset_step) {
        assert_eq!(peer.domain, DomId(1));
        b.channels.disconnect(peer);
    }
    assert_eq!(a.frames_held(), 1, "a vCPU keeps its information");
    for (near, far) in pairs {
        assert_eq!((a.state(near), b.state(far)), (EventStatus::Closed, EventStatus::Unbound));
    }
    let mut status = xenolith_abi::event::Status { port: own, ..Default::default() };
    assert_eq!(a.channels.status(&mut status), Err(Errno::EACCES));
    assert_eq!(a.channels.set_priority(Port(2), 1), Err(Errno::ENOSYS), "the 2-level form is back");
    assert_eq!(a.channels.bind_virq(Virq::Console.number(), V0), Ok(Port(2)));
    let frame = a.frame(control);
    assert!(a.channels.init_control(V0, frame, 0).is_ok());
}

#[test]
fn a_domain_that_ends_gives_everything_back_and_takes_nothing_more() {
    let (mut a, mut b) = (Domain::new(0, 1, 1000), Domain::new(1, 1, 1000));
    a.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    let (near, far) = connect(&mut a, &mut b);
    let Ok(Sent::To(peer)) = b.channels.send(far) else { panic!() };
    let _ = a.use_fifo(1, 3);
    let infos = a.register_vcpu_infos(1);
    let peers = run_steps(&mut a.channels, EventChannels::teardown_step);
    assert_eq!(peers.len(), 1);
    assert_eq!(a.frames_held(), 0);
    assert_eq!(a.channels.deliver(peer), Delivery::Guest(EventActions::default()));
    assert_eq!(a.channels.alloc_unbound(DomId(1)), Err(Errno::EINVAL));
    for (what, refused) in [
        ("info", a.channels.register_vcpu_info(V0, a.frame(infos), 0).unwrap_err()),
        ("control", a.channels.init_control(V0, a.frame(infos), 0).unwrap_err()),
        ("array", a.channels.expand_array(a.frame(infos)).unwrap_err()),
    ] {
        assert_eq!(refused.errno, Errno::EINVAL, "{what}");
    }
    assert_eq!(a.state(near), EventStatus::Closed);
    infos.byte(0).unwrap().store(1);
    assert!(!a.channels.needs_upcall(V0));
}

#[test]
fn steps_keep_to_their_budget() {
    let mut domain = Domain::new(0, 1, 1000);
    for _ in 0..100 {
        domain.channels.alloc_unbound(DomId(1)).unwrap();
    }
    let mut budget = 30;
    assert!(matches!(domain.channels.reset_step(&mut budget), crate::event::Closing::Again));
    assert_eq!(budget, 0);
    let open = (1..=100).filter(|&port| domain.state(Port(port)) == EventStatus::Unbound).count();
    assert_eq!(open, 70);
}

#[test]
fn the_end_of_a_domain_leaves_out_no_port_that_a_reset_has_passed() {
    let mut domain = Domain::new(0, 1, 1000);
    let ours = domain.channels.alloc_consumer(V0, DomId(1), ConsumerTag(0)).unwrap();
    for _ in 0..100 {
        domain.channels.alloc_unbound(DomId(1)).unwrap();
    }
    // The domain dies before its reset, which keeps the hypervisor's ports, is continued.
    assert!(matches!(domain.channels.reset_step(&mut 30), crate::event::Closing::Again));
    let again = domain.channels.alloc_unbound(DomId(1)).unwrap();
    assert!(again < Port(30));
    run_steps(&mut domain.channels, EventChannels::teardown_step);
    assert_eq!((domain.state(ours), domain.state(again)), (EventStatus::Closed, EventStatus::Closed));
}
