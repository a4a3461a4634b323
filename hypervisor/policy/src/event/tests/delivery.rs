//! How an event reaches the shared memory in each form, step by step.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::event::fifo::{LINK, LINKED, MASKED, PENDING};

use super::support::{Domain, connect, deliver, word};
use crate::event::{EventActions, Port, Sent};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);
const CONSOLE: u32 = Virq::Console as u32;
const MASK: usize = 560;

fn raise(domain: &mut Domain) -> EventActions {
    domain.channels.raise_virq(Virq::Console, V0)
}

#[test]
fn two_levels_and_the_upcall_are_set_once() {
    let mut domain = Domain::new(0, 1, 1000);
    for _ in 0..69 {
        domain.channels.alloc_unbound(DomId(1)).unwrap();
    }
    let port = domain.channels.bind_virq(CONSOLE, V0).unwrap();
    assert_eq!(port, Port(70));
    assert!(raise(&mut domain).notify.iter().eq([V0]));
    assert!(domain.channels.needs_upcall(V0));
    assert!(domain.pending_bit(port));
    let (upcall, selector) = (domain.shared_info.byte(0).unwrap(), domain.shared_info.word64(8).unwrap());
    assert_eq!((upcall.load(), selector.load()), (1, 0b10));
    assert_eq!(raise(&mut domain), EventActions::default());

    upcall.store(0);
    assert!(!domain.channels.needs_upcall(V0));
    assert_eq!(raise(&mut domain), EventActions::default(), "still pending");
    domain.shared_info.word64(48 + 8).unwrap().store(0);
    assert_eq!(raise(&mut domain), EventActions::default(), "still selected");
    domain.shared_info.word64(48 + 8).unwrap().store(0);
    selector.store(0);
    assert!(raise(&mut domain).notify.iter().eq([V0]));
}

#[test]
fn a_masked_port_becomes_pending_and_is_announced_by_unmask() {
    let mut domain = Domain::new(0, 1, 1000);
    let port = domain.channels.bind_virq(CONSOLE, V0).unwrap();
    domain.shared_info.word64(MASK).unwrap().store(u64::MAX);
    assert_eq!(raise(&mut domain), EventActions::default());
    assert!(domain.pending_bit(port) && !domain.channels.needs_upcall(V0));
    assert!(domain.channels.unmask(port).unwrap().notify.iter().eq([V0]));
    assert_eq!(domain.shared_info.word64(MASK).unwrap().load(), !0b10);
    assert_eq!(domain.channels.unmask(port), Ok(EventActions::default()));
    assert_eq!(domain.channels.unmask(Port(128)), Err(Errno::EINVAL));
    assert_eq!(domain.channels.unmask(Port(u32::MAX)), Err(Errno::EINVAL));
    assert_eq!(domain.channels.unmask(Port(9)), Ok(EventActions::default()), "a free port");
}

#[test]
fn vcpu_info_moves_with_its_content_and_everything_is_looked_at() {
    let mut domain = Domain::new(0, 2, 1000);
    domain.channels.bind_virq(CONSOLE, V0).unwrap();
    domain.shared_info.word64(32).unwrap().store(0x1234_5678);
    let infos = page();
    let mut register = |vcpu, offset| {
        let frame = domain.frame(infos);
        domain.channels.register_vcpu_info(vcpu, frame, offset).map_err(|refused| refused.errno)
    };
    for offset in [1, 2, 3, 4, 5, 6, 7, 4052, 4056, 4095, 4096, u32::MAX] {
        assert_eq!(register(V0, offset), Err(Errno::ENXIO), "offset {offset}");
    }
    assert_eq!(register(VcpuId(2), 0), Err(Errno::ENOENT));
    assert!(register(V0, 0x580).unwrap().notify.iter().eq([V0]));
    assert!(register(V1, 4048).unwrap().notify.iter().eq([V1]));
    assert_eq!(register(V0, 0), Err(Errno::EINVAL));
    assert_eq!(domain.frames_held(), 2);
    let words = |offset: usize| [0, 8, 16, 32].map(|field| infos.word64(offset + field).unwrap().load());
    assert_eq!(words(0x580), [1, u64::MAX, 0, 0x1234_5678]);
    assert_eq!(words(4048), [1, u64::MAX, 0, 0]);

    infos.zero();
    assert!(raise(&mut domain).notify.iter().eq([V0]));
    assert_eq!(words(0x580), [1, 1, 0, 0]);
    assert_eq!(domain.shared_info.word64(0).unwrap().load(), 0);
}

#[test]
fn a_vcpu_without_a_place_learns_of_its_events_when_it_gets_one() {
    let mut domain = Domain::new(0, 2, 1000);
    let port = domain.channels.bind_ipi(V1).unwrap();
    assert_eq!(domain.channels.send(port), Ok(Sent::Here(EventActions::default())));
    assert!(domain.pending_bit(port) && !domain.channels.needs_upcall(V1));
    let frame = domain.frame(page());
    assert!(domain.channels.register_vcpu_info(V1, frame, 0).unwrap().notify.contains(V1));
    assert!(domain.channels.needs_upcall(V1));
}

#[test]
fn a_poll_ends_at_once_or_with_the_event_even_of_a_masked_port() {
    let (mut a, mut b) = (Domain::new(0, 3, 100), Domain::new(1, 1, 100));
    let (port, far) = connect(&mut a, &mut b);
    let other = a.channels.alloc_unbound(DomId(1)).unwrap();
    assert_eq!(a.channels.poll(V0, &[other, port]), Ok(true), "a new connection is pending");
    a.shared_info.word64(48).unwrap().store(0);
    a.shared_info.word64(MASK).unwrap().store(u64::MAX);
    assert_eq!(a.channels.poll(VcpuId(3), &[port]), Err(Errno::ENOENT));
    assert_eq!(a.channels.poll(V0, &[Port(128)]), Err(Errno::EINVAL));
    assert_eq!(a.channels.poll(V0, &[port; 129]), Err(Errno::EINVAL));
    assert_eq!(a.channels.poll(V0, &[port]), Ok(false));
    assert_eq!(a.channels.poll(V1, &[other]), Ok(false));
    assert_eq!(a.channels.poll(VcpuId(2), &[port; 128]), Ok(false));
    a.channels.stop_polling(VcpuId(2));
    let Ok(Sent::To(peer)) = b.channels.send(far) else { panic!() };
    let effects = deliver(&mut a, peer);
    assert!(effects.notify.is_empty() && effects.wake.iter().eq([V0]));
    assert_eq!(deliver(&mut a, peer), EventActions::default());
}

#[test]
fn control_blocks_and_array_pages_are_checked() {
    let mut domain = Domain::new(0, 2, 1000);
    let control = page();
    let frame = domain.frame(control);
    assert_eq!(domain.channels.expand_array(frame).unwrap_err().errno, Errno::EOPNOTSUPP);
    assert_eq!(domain.channels.set_priority(Port(1), 0), Err(Errno::ENOSYS));
    let mut init = |vcpu, offset| {
        let frame = domain.frame(control);
        domain.channels.init_control(vcpu, frame, offset).map_err(|refused| refused.errno)
    };
    for offset in [1, 4, 7, 4025, 4028, 4032, 4096, u32::MAX] {
        assert_eq!(init(V0, offset), Err(Errno::EINVAL), "offset {offset}");
    }
    assert_eq!(init(VcpuId(2), 0), Err(Errno::ENOENT));
    assert_eq!(init(V1, 4024), Ok(()));
    assert_eq!(init(V1, 0), Err(Errno::EINVAL));
    assert_eq!(init(V0, 0), Ok(()));
    let array: Vec<Page> = (0..128).map(|_| page()).collect();
    for &words in &array {
        let frame = domain.frame(words);
        assert_eq!(domain.channels.expand_array(frame).unwrap(), EventActions::default());
    }
    let frame = domain.frame(control);
    assert_eq!(domain.channels.expand_array(frame).unwrap_err().errno, Errno::ENOSPC);
    assert_eq!(domain.frames_held(), 130);

    let port = domain.channels.bind_virq(CONSOLE, V0).unwrap();
    assert_eq!(domain.channels.set_priority(port, 15), Ok(()));
    assert_eq!(domain.channels.set_priority(port, 16), Err(Errno::EINVAL));
    assert_eq!(domain.channels.set_priority(port, u32::MAX), Err(Errno::EINVAL));
    assert_eq!(domain.channels.set_priority(Port(2), 1), Err(Errno::EINVAL));
    assert_eq!(domain.channels.set_priority(Port(1 << 17), 1), Err(Errno::EINVAL));
}

/// Three ports of a domain in the FIFO form, connected to another domain's.
fn three_fifo_ports() -> (Domain, Domain, Page, Vec<Page>, [Port; 3]) {
    let (mut a, mut b) = (Domain::new(0, 2, 100), Domain::new(1, 1, 100));
    let (control, array) = a.use_fifo(2, 1);
    let infos = a.register_vcpu_infos(2);
    let ports = core::array::from_fn(|_| connect(&mut a, &mut b).0);
    for port in ports {
        word(&array, port).store(0);
    }
    control.zero();
    infos.zero();
    // The tails still name the last port, which counts as consumed: its word is not linked.
    (a, b, control, array, ports)
}

#[test]
fn ports_are_queued_in_order_and_the_upcall_comes_with_the_first() {
    let (mut a, _b, control, array, [p, q, r]) = three_fifo_ports();
    assert!(a.channels.set_pending(p).notify.iter().eq([V0]));
    assert_eq!(a.channels.set_pending(q), EventActions::default());
    assert_eq!(a.channels.set_pending(q), EventActions::default());
    assert_eq!(a.channels.set_pending(r), EventActions::default());
    assert_eq!(control.word32(0).unwrap().load(), 1 << 7);
    assert_eq!(control.word32(8 + 7 * 4).unwrap().load(), p.0);
    let words = [p, q, r].map(|port| word(&array, port).load());
    assert_eq!(words, [PENDING | LINKED | q.0, PENDING | LINKED | r.0, PENDING | LINKED]);
}

#[test]
fn a_queue_that_the_guest_is_reading_is_not_announced_again() {
    let (mut a, _b, control, array, [p, q, _]) = three_fifo_ports();
    let _ = a.channels.set_pending(p);
    let ready = control.word32(0).unwrap();
    ready.store(0);
    assert_eq!(a.channels.set_pending(q), EventActions::default());
    assert_eq!(ready.load(), 0, "p is still linked, and leads to q");
    assert_eq!(word(&array, p).load() & LINK, q.0);
}

#[test]
fn a_link_that_the_guest_left_in_a_word_is_not_followed() {
    let (mut a, _b, _control, array, [p, ..]) = three_fifo_ports();
    word(&array, p).store(LINK);
    let _ = a.channels.set_pending(p);
    assert_eq!(word(&array, p).load(), PENDING | LINKED);
}

#[test]
fn priority_and_vcpu_choose_the_queue() {
    let (mut a, _b, control, array, [p, q, r]) = three_fifo_ports();
    a.channels.set_priority(p, 0).unwrap();
    a.channels.set_priority(q, 15).unwrap();
    a.channels.bind_vcpu(r, V1).unwrap();
    let effects = [p, q, r].map(|port| a.channels.set_pending(port));
    assert!(effects[0].notify.iter().eq([V0]));
    assert!(effects[1].notify.is_empty(), "the upcall was pending");
    assert!(effects[2].notify.iter().eq([V1]));
    let load = |offset| control.word32(offset).unwrap().load();
    assert_eq!((load(0), load(8), load(8 + 15 * 4)), (1 | 1 << 15, p.0, q.0));
    assert_eq!((load(128), load(128 + 8 + 7 * 4)), (1 << 7, r.0));
    assert!([p, q, r].iter().all(|&port| word(&array, port).load() & LINK == 0));
}

#[test]
fn a_masked_port_is_pending_and_not_queued_until_it_is_unmasked() {
    let (mut a, _b, control, array, [p, ..]) = three_fifo_ports();
    word(&array, p).store(MASKED);
    assert_eq!(a.channels.set_pending(p), EventActions::default());
    assert_eq!(word(&array, p).load(), MASKED | PENDING);
    assert_eq!(control.word32(0).unwrap().load(), 0);
    assert!(a.channels.unmask(p).unwrap().notify.iter().eq([V0]));
    assert_eq!(word(&array, p).load(), PENDING | LINKED);
    assert_eq!(control.word32(8 + 7 * 4).unwrap().load(), p.0);
    assert_eq!(a.channels.unmask(p), Ok(EventActions::default()));
}

#[test]
fn a_consumed_tail_starts_the_queue_anew() {
    let (mut a, _b, control, array, [p, q, r]) = three_fifo_ports();
    let head = control.word32(8 + 7 * 4).unwrap();
    let _ = a.channels.set_pending(p);
    let _ = a.channels.set_pending(q);
    for port in [p, q] {
        word(&array, port).store(0);
    }
    let _ = a.channels.set_pending(r);
    assert_eq!(head.load(), r.0);
    assert_eq!(word(&array, q).load(), 0, "not linked behind a consumed word");
    word(&array, r).store(0);
    let _ = a.channels.set_pending(r);
    assert_eq!(head.load(), r.0);
    assert_eq!(word(&array, r).load() & LINK, 0, "not linked behind itself");
}

#[test]
fn a_tail_that_went_to_another_queue_is_forgotten_by_its_old_one() {
    let (mut a, _b, control, array, [p, q, _]) = three_fifo_ports();
    let _ = a.channels.set_pending(p);
    word(&array, p).store(0);
    a.channels.set_priority(p, 3).unwrap();
    let _ = a.channels.set_pending(p);
    let _ = a.channels.set_pending(q);
    assert_eq!(word(&array, p).load() & LINK, 0, "q is in another queue");
    assert_eq!(control.word32(8 + 7 * 4).unwrap().load(), q.0);
    assert_eq!(control.word32(8 + 3 * 4).unwrap().load(), p.0);
}

#[test]
fn what_was_pending_comes_with_the_page_of_its_word() {
    let (mut a, mut b) = (Domain::new(0, 1, 100), Domain::new(1, 1, 100));
    let (early, _) = connect(&mut a, &mut b);
    let (quiet, _) = connect(&mut a, &mut b);
    a.shared_info.word64(48).unwrap().store(1 << early.0);
    let _ = a.use_fifo(1, 0);
    let (late, _) = connect(&mut a, &mut b);
    assert_eq!(a.channels.poll(V0, &[early]), Ok(true));
    assert_eq!(a.channels.poll(V0, &[quiet]), Ok(false));
    a.shared_info.zero();
    let words = page();
    let frame = a.frame(words);
    assert!(a.channels.expand_array(frame).unwrap().notify.iter().eq([V0]));
    let load = |port| word(&[words], port).load();
    assert_eq!((load(early), load(late)), (PENDING | LINKED | late.0, PENDING | LINKED));
    assert_eq!(load(quiet), 0);
    assert_eq!(a.shared_info.word64(48).unwrap().load(), 0, "the 2-level bits are unused");
}

#[test]
fn an_event_for_a_vcpu_without_a_control_block_is_dropped() {
    let mut domain = Domain::new(0, 2, 100);
    let (_, array) = domain.use_fifo(1, 1);
    let port = domain.channels.bind_ipi(V1).unwrap();
    assert_eq!(domain.channels.send(port), Ok(Sent::Here(EventActions::default())));
    assert_eq!(word(&array, port).load(), 0);
}

#[test]
fn a_closed_port_is_not_given_out_while_it_is_queued() {
    let (mut a, _b, _control, array, [p, ..]) = three_fifo_ports();
    let _ = a.channels.set_pending(p);
    a.channels.close(p).unwrap();
    assert_eq!(word(&array, p).load(), LINKED);
    assert_eq!(a.channels.alloc_unbound(DomId(1)), Ok(Port(4)));
    word(&array, p).store(0);
    assert_eq!(a.channels.alloc_unbound(DomId(1)), Ok(p));
}
