//! Event channels between domains, in both forms, and waiting for them.

use xenolith_abi::event::{AllocUnbound, BindInterdomain, ExpandArray, InitControl, PortArgument, fifo};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::AddToPhysmap;
use xenolith_abi::sched::Poll;
use xenolith_abi::vcpu::RegisterVcpuInfo;
use xenolith_abi::{Errno, Port};

use super::super::*;
use super::support::*;

const SEND: u64 = 4;

/// A guest that listens: its event interrupt is enabled, and it knows where its events are announced.
fn listen(machine: &mut Machine, guest: &Guest) {
    machine.store(guest.cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(guest.cpu, REDISTRIBUTORS + 0x1_0100, 4, 1 << EVENT_PPI.0);
    let shared_info = guest.page(machine, 10) >> 12;
    let mut add = AddToPhysmap { domid: SELF, gpfn: Gfn(shared_info), ..AddToPhysmap::default() };
    assert_eq!(guest.call(machine, Hypercall::MemoryOp, 7, &mut add), 0);
    let at = guest.scratch(machine);
    let info = RegisterVcpuInfo { gfn: Gfn(guest.page(machine, 11) >> 12), offset: 0, rsvd: 0 };
    machine.poke(&guest.domain, at, &info);
    assert_eq!(guest.plain(machine, Hypercall::VcpuOp, [10, 0, at, 0, 0]), 0);
    // Registering says that there may be something.
    machine.settle();
    assert!(upcall(machine, guest));
}

/// The event interrupt as the guest's handler sees it: whether there is one, and the word that says so.
fn upcall(machine: &mut Machine, guest: &Guest) -> bool {
    sim::on_cpu(CpuId(guest.cpu));
    if sim::guest::take() != Some(EVENT_PPI) {
        return false;
    }
    let info = guest.page(machine, 11);
    let pending: u8 = machine.peek(&guest.domain, info);
    machine.poke(&guest.domain, info, &0_u8);
    machine.poke(&guest.domain, info + 8, &0_u64);
    pending == 1
}

/// A channel from the first guest to the second: the ports on both sides.
fn connect(machine: &mut Machine, first: &Guest, second: &Guest) -> (u32, u32) {
    let mut offer = AllocUnbound { dom: SELF, remote_dom: second.domain.id, ..AllocUnbound::default() };
    assert_eq!(first.call(machine, Hypercall::EventChannelOp, 6, &mut offer), 0);
    let mut bind = BindInterdomain {
        remote_dom: first.domain.id,
        remote_port: offer.port,
        ..BindInterdomain::default()
    };
    assert_eq!(second.call(machine, Hypercall::EventChannelOp, 0, &mut bind), 0);
    machine.settle();
    (offer.port.0, bind.local_port.0)
}

fn send(machine: &mut Machine, guest: &Guest, port: u32) -> i64 {
    let result = guest.call(machine, Hypercall::EventChannelOp, SEND, &mut PortArgument { port: Port(port) });
    machine.settle();
    result
}

#[test]
fn an_event_crosses_in_the_two_level_form() {
    let (mut machine, first, second) = Guest::two();
    listen(&mut machine, &first);
    listen(&mut machine, &second);
    let (here, there) = connect(&mut machine, &first, &second);
    assert!(upcall(&mut machine, &second), "the new port begins pending");
    assert!(!upcall(&mut machine, &first));
    let pending = second.page(&machine, 10) + 48;
    machine.poke(&second.domain, pending, &0_u64);

    assert_eq!(send(&mut machine, &first, here), 0);
    assert_eq!(machine.peek::<u64>(&second.domain, pending), 1 << there);
    assert!(upcall(&mut machine, &second));
    assert_eq!(send(&mut machine, &first, here), 0);
    assert!(!upcall(&mut machine, &second), "it is pending already");
    machine.poke(&second.domain, pending, &0_u64);

    assert_eq!(send(&mut machine, &second, there), 0);
    assert!(upcall(&mut machine, &first));
    // One side goes: the other may send into the void.
    assert_eq!(
        second.call(&mut machine, Hypercall::EventChannelOp, 3, &mut PortArgument { port: Port(there) }),
        0
    );
    assert_eq!(send(&mut machine, &first, here), 0);
    assert!(!upcall(&mut machine, &second));
    assert_eq!(send(&mut machine, &second, there), error(Errno::EINVAL));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn an_event_crosses_in_the_fifo_form() {
    let (mut machine, first, second) = Guest::two();
    listen(&mut machine, &first);
    listen(&mut machine, &second);
    let (control, array) = (second.page(&machine, 12), second.page(&machine, 13));
    let mut init = InitControl { control_gfn: Gfn(control >> 12), ..InitControl::default() };
    assert_eq!(second.call(&mut machine, Hypercall::EventChannelOp, 11, &mut init), 0);
    let mut expand = ExpandArray { array_gfn: Gfn(array >> 12) };
    assert_eq!(second.call(&mut machine, Hypercall::EventChannelOp, 12, &mut expand), 0);
    let (here, there) = connect(&mut machine, &first, &second);
    assert!(upcall(&mut machine, &second));
    let word = array + 4 * u64::from(there);
    assert_eq!(machine.peek::<u32>(&second.domain, word), fifo::PENDING | fifo::LINKED);
    assert_eq!(machine.peek::<u32>(&second.domain, control), 1 << fifo::DEFAULT_PRIORITY);
    let head = control + fifo::CONTROL_HEADS as u64 + 4 * u64::from(fifo::DEFAULT_PRIORITY);
    assert_eq!(machine.peek::<u32>(&second.domain, head), there);
    // The guest consumes it.
    machine.poke(&second.domain, word, &0_u32);
    machine.poke(&second.domain, control, &0_u32);
    assert_eq!(send(&mut machine, &first, here), 0);
    assert!(upcall(&mut machine, &second));
    assert_eq!(machine.peek::<u32>(&second.domain, word) & fifo::PENDING, fifo::PENDING);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn an_event_wakes_a_domain_that_sleeps() {
    let (mut machine, first, second) = Guest::two();
    listen(&mut machine, &first);
    listen(&mut machine, &second);
    let (here, _) = connect(&mut machine, &first, &second);
    assert!(upcall(&mut machine, &second));
    let pending = second.page(&machine, 10) + 48;
    machine.poke(&second.domain, pending, &0_u64);
    assert_eq!(machine.wait(second.cpu), Next::Idle);
    assert_eq!(send(&mut machine, &first, here), 0);
    assert_eq!(machine.running(second.cpu), Some((DomId(1), VcpuId(0))));
    assert!(upcall(&mut machine, &second));
    // With an interrupt pending, there is no sleep.
    machine.poke(&second.domain, pending, &0_u64);
    assert_eq!(send(&mut machine, &first, here), 0);
    assert_eq!(machine.wait(second.cpu), Next::Guest);
    assert!(upcall(&mut machine, &second));
    // sched_op block is the same with interrupts allowed.
    machine.regs(second.cpu).pstate.0 |= 0x80;
    assert_eq!(machine.hypercall(second.cpu, Hypercall::SchedOp.number(), [1, 0, 0, 0, 0]), None);
    assert_eq!(machine.regs_of(&second.domain, 0).pstate.0 & 0x80, 0);
    assert_eq!(machine.regs_of(&second.domain, 0).x[0], 0);
}

/// Begins to poll a port; `None` while it waits.
fn poll(machine: &mut Machine, guest: &Guest, port: u32, timeout: u64) -> Option<i64> {
    let (at, ports) = (guest.scratch(machine), guest.page(machine, 2));
    machine.poke(&guest.domain, ports, &port);
    machine.poke(&guest.domain, at, &Poll { ports: ports.into(), nr_ports: 1, timeout, ..Poll::default() });
    machine.hypercall(guest.cpu, Hypercall::SchedOp.number(), [3, at, 0, 0, 0])
}

#[test]
fn a_poll_ends_with_its_event_or_its_time() {
    let (mut machine, first, second) = Guest::two();
    listen(&mut machine, &second);
    let (here, there) = connect(&mut machine, &first, &second);
    assert!(upcall(&mut machine, &second));
    let (pending, mask) = (second.page(&machine, 10) + 48, second.page(&machine, 10) + 560);
    machine.poke(&second.domain, mask, &u64::MAX);
    assert_eq!(poll(&mut machine, &second, there, 0), Some(0), "it is pending");
    machine.poke(&second.domain, pending, &0_u64);

    assert_eq!(poll(&mut machine, &second, there, 0), None);
    assert_eq!(machine.next(second.cpu), Next::Idle);
    assert_eq!(send(&mut machine, &first, here), 0);
    assert_eq!(machine.next(second.cpu), Next::Guest, "though the port is masked");
    assert!(!upcall(&mut machine, &second));
    machine.poke(&second.domain, pending, &0_u64);

    let soon = second.domain.system_time(xenolith_arch::now()) + 1_000_000;
    assert_eq!(poll(&mut machine, &second, there, soon), None);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
    sim::advance(xenolith_arch::ticks(1_000_001));
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Guest);
    assert_eq!(machine.regs(second.cpu).x[0], 0);
    assert_eq!(poll(&mut machine, &second, 200, 0), Some(error(Errno::EINVAL)));
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Guest, "an error does not leave it asleep");
}

/// The end of an earlier poll must not end a later sleep of another kind.
#[test]
fn the_time_of_a_poll_that_its_event_ended_means_nothing() {
    let (mut machine, first, second) = Guest::two();
    listen(&mut machine, &second);
    let (here, there) = connect(&mut machine, &first, &second);
    assert!(upcall(&mut machine, &second));
    let (pending, mask) = (second.page(&machine, 10) + 48, second.page(&machine, 10) + 560);
    machine.poke(&second.domain, mask, &u64::MAX);
    machine.poke(&second.domain, pending, &0_u64);
    let soon = second.domain.system_time(xenolith_arch::now()) + 1_000_000;
    assert_eq!(poll(&mut machine, &second, there, soon), None);
    assert_eq!(send(&mut machine, &first, here), 0);
    machine.poke(&second.domain, pending, &0_u64);
    assert_eq!(poll(&mut machine, &second, there, 0), None);
    sim::advance(xenolith_arch::ticks(10_000_000));
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
}
