//! VcpuTimers of vCPUs: more than any one domain has, and those that outlive their vCPU.

use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::{Poll, SchedOp};

use super::super::*;
use super::support::*;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;
use xenolith_domain::timers::TimerKind;
use xenolith_policy::sched::CpuMask;

/// Sleeps until a time in ticks, or for ever (0).
fn sleep(machine: &mut Machine, guest: &Guest, until: u64) {
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(0), ..AllocUnbound::default() };
    let op = EventOp::AllocUnbound.number().into();
    assert_eq!(guest.call(machine, Hypercall::EventChannelOp, op, &mut offer), 0);
    let (at, ports) = (guest.scratch(machine), guest.page(machine, 2));
    machine.poke(&guest.domain, ports, &offer.port);
    let timeout = if until == 0 { 0 } else { guest.domain.system_time(until) };
    machine.poke(&guest.domain, at, &Poll { ports: ports.into(), nr_ports: 1, timeout, ..Poll::default() });
    let arguments = [SchedOp::Poll.number().into(), at, 0, 0, 0];
    assert_eq!(machine.hypercall(guest.cpu, Hypercall::SchedOp.number(), arguments), None);
    assert_eq!(machine.next(guest.cpu), Next::Idle);
}

fn destroy(machine: &mut Machine, guest: Guest) {
    while machine.hv.destroy_domain(&guest.domain, 0) == Ok(Progress::Again) {
        machine.settle();
    }
}

#[test]
fn the_alarm_of_a_vcpu_that_is_gone_wakes_none_of_its_number() {
    let mut machine = Machine::new(3, 1024);
    Guest::boot(&mut machine, CONTROL);
    let first = Guest::boot(&mut machine, OTHER);
    let unit = first.domain.vcpus[0].unit;
    let deadline = xenolith_arch::now() + 1_000_000;
    sleep(&mut machine, &first, deadline);
    let other = 3 - first.cpu;
    destroy(&mut machine, first);
    machine.hv.reap();
    let mut second = Guest::boot(&mut machine, Plan { id: 2, ..OTHER });
    assert_eq!(second.domain.vcpus[0].unit, unit, "it has the same number");
    // On another CPU, so that its own alarms do not replace the old ones.
    let kicks =
        machine.hv.scheduler.set_affinity(unit, CpuMask::one(CpuId(other)), xenolith_arch::now()).unwrap();
    machine.hv.kick(kicks);
    machine.settle();
    second.cpu = machine.cpu_of(&second.domain, 0).unwrap();
    assert_eq!(second.cpu, other);
    sleep(&mut machine, &second, 0);
    sim::advance(2_000_000);
    machine.settle();
    assert_eq!(machine.next(other), Next::Idle);
}

#[test]
fn an_earlier_end_is_not_the_end_of_a_later_poll() {
    let (mut machine, _control, guest) = Guest::two();
    let now = xenolith_arch::now();
    sleep(&mut machine, &guest, now + 1_000_000);
    // An interrupt ends it, and it goes on on another CPU.
    guest.domain.on(&machine.hv).end_poll(VcpuId(0));
    machine.settle();
    let queue = machine.hv.timers.of(CpuId(guest.cpu));
    let alarm = guest.domain.vcpus[0].unit;
    sleep(&mut machine, &guest, now + 9_000_000);
    queue.set(alarm, TimerKind::Poll, Some(now + 1_000_000));
    sim::advance(2_000_000);
    machine.event(guest.cpu, Event::Interrupt);
    machine.settle();
    assert_eq!(machine.next(guest.cpu), Next::Idle);
}

#[test]
fn there_is_room_for_the_alarms_of_all_domains_on_each_cpu() {
    let (machine, _control) = Guest::alone();
    let request = NewDomain { vcpus: 128, ..super::create::request() };
    let domains: Vec<_> = (0..3).map(|_| machine.hv.create_domain(&request).unwrap()).collect();
    let queue = machine.hv.timers.of(CpuId(0));
    let units: Vec<_> = domains.iter().flat_map(|domain| domain.vcpus.iter().map(|vcpu| vcpu.unit)).collect();
    let ((), lacked) = crate::heap::with_heap(0, || {
        for (deadline, &unit) in (1000..).zip(&units) {
            TimerKind::ALL.iter().for_each(|&kind| queue.set(unit, kind, Some(deadline)));
        }
    });
    assert_eq!(lacked, None);
    let mut due = 0;
    while queue.take(u64::MAX).is_some() {
        due += 1;
    }
    assert_eq!(due, units.len() * TimerKind::ALL.len());
}
