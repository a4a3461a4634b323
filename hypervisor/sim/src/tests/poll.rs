//! `sched_op` poll: for what else than its event a vCPU goes on.

use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::{Poll, SchedOp};

use super::super::*;
use super::support::*;

/// A shared interrupt that is not backed by a device.
const LINE: Intid = Intid(40);

/// A port of the guest's that nobody signals.
fn quiet_port(machine: &mut Machine, guest: &Guest) -> u32 {
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(1), ..AllocUnbound::default() };
    let op = EventOp::AllocUnbound.number().into();
    assert_eq!(guest.call(machine, Hypercall::EventChannelOp, op, &mut offer), 0);
    offer.port.0
}

/// Polls the port for ever; `None` while it waits.
fn poll(machine: &mut Machine, guest: &Guest, port: u32) -> Option<i64> {
    let (at, ports) = (guest.scratch(machine), guest.page(machine, 2));
    machine.poke(&guest.domain, ports, &port);
    machine.poke(
        &guest.domain,
        at,
        &Poll { ports: ports.into(), nr_ports: 1, timeout: 0, ..Poll::default() },
    );
    machine.hypercall(guest.cpu, Hypercall::SchedOp.number(), [SchedOp::Poll.number().into(), at, 0, 0, 0])
}

/// The guest takes this shared interrupt.
fn enable(machine: &mut Machine, cpu: u16) {
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(cpu, DISTRIBUTOR + 0x80 + 4 * u64::from(LINE.0 / 32), 4, 1 << (LINE.0 % 32));
    machine.store(cpu, DISTRIBUTOR + 0x100 + 4 * u64::from(LINE.0 / 32), 4, 1 << (LINE.0 % 32));
}

#[test]
fn an_interrupt_that_waits_ends_a_poll_at_once() {
    let (mut machine, guest) = Guest::alone();
    let port = quiet_port(&mut machine, &guest);
    enable(&mut machine, 0);
    guest.domain.on(&machine.hv).drive_line(LINE, true).unwrap();
    assert_eq!((poll(&mut machine, &guest, port), machine.next(0)), (Some(0), Next::Guest));
    // It has left no trace: a sleep of another kind ends by its own reason only.
    guest.domain.on(&machine.hv).drive_line(LINE, false).unwrap();
    assert_eq!(poll(&mut machine, &guest, port), None);
    assert_eq!(machine.next(0), Next::Idle);
}

#[test]
fn an_interrupt_that_comes_ends_a_poll() {
    let (mut machine, guest) = Guest::alone();
    let port = quiet_port(&mut machine, &guest);
    enable(&mut machine, 0);
    assert_eq!(poll(&mut machine, &guest, port), None);
    guest.domain.on(&machine.hv).drive_line(LINE, true).unwrap();
    machine.settle();
    assert_eq!((machine.next(0), machine.regs(0).x[0]), (Next::Guest, 0));
}
