//! A domain's own time: it begins with the domain, and everything that tells or takes a time agrees about that.

use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::platform::{INTERFACE_VERSION, PlatformHeader, SetTime64};
use xenolith_abi::sched::{Poll, SchedOp};
use xenolith_abi::shared::RunStateInfo;
use xenolith_abi::vcpu::RegisterRunstateMemoryArea;

use super::super::*;
use super::support::*;

/// Ticks and nanoseconds of a second.
const SECOND: u64 = 62_500_000;
const BILLION: u64 = 1_000_000_000;
/// What the model's counter moves by itself while a test does a few things, in ticks.
const LITTLE: u64 = 10_000;
/// The virtual timer's interrupt.
const TIMER: u32 = sim::gic::GUEST_TIMER.0;

/// The virtual counter of the vCPU on a CPU.
fn counter(cpu: u16) -> u64 {
    sim::on_cpu(CpuId(cpu));
    sim::guest::counter()
}

/// A machine that has been on for 1000 s when its second domain starts.
fn machine() -> (Machine, Guest, Guest) {
    let mut machine = Machine::new(2, 1024);
    let first = Guest::boot(&mut machine, CONTROL);
    sim::advance(1000 * SECOND);
    let second = Guest::boot(&mut machine, OTHER);
    (machine, first, second)
}

/// Takes interrupts, and has the virtual timer fire when the virtual counter shows `compare`.
fn set_timer(machine: &mut Machine, cpu: u16, compare: u64) {
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(cpu, REDISTRIBUTORS + 0x1_0080, 4, 0xffff_ffff);
    machine.store(cpu, REDISTRIBUTORS + 0x1_0100, 4, 0xffff_ffff);
    sim::on_cpu(CpuId(cpu));
    sim::guest::change_registers(|registers| {
        (registers.timer_control, registers.timer_compare) = (1, compare);
    });
}

fn take(cpu: u16) -> Option<u32> {
    sim::on_cpu(CpuId(cpu));
    sim::guest::take().map(|intid| intid.0)
}

/// The wall clock of a domain at the start of its time, in nanoseconds since 1970.
fn wall_clock(guest: &Guest) -> u64 {
    let word = |at| u64::from(guest.domain.shared_info.word32(at).unwrap().load());
    let [seconds, nanoseconds, high] = [1076, 1080, 1084].map(word);
    (high << 32 | seconds) * BILLION + nanoseconds
}

/// The control domain says that it is `wall` when its own time is `system_time`.
fn set_time(machine: &mut Machine, guest: &Guest, wall: u64, system_time: u64) -> i64 {
    let at = guest.scratch(machine);
    machine.poke(&guest.domain, at, &PlatformHeader { cmd: 62, interface_version: INTERFACE_VERSION });
    let (secs, nsecs) = (wall / BILLION, (wall % BILLION) as u32);
    let time = SetTime64 { secs, nsecs, system_time, ..SetTime64::default() };
    machine.poke(&guest.domain, at + size_of::<PlatformHeader>() as u64, &time);
    guest.plain(machine, Hypercall::PlatformOp, [at, 0, 0, 0, 0])
}

#[test]
fn it_begins_when_the_domain_starts() {
    let (_machine, first, second) = machine();
    assert!(counter(second.cpu) < LITTLE);
    let uptime = counter(first.cpu);
    assert!((1000 * SECOND..1000 * SECOND + LITTLE).contains(&uptime), "{uptime}");
}

#[test]
fn it_begins_when_a_paused_domain_is_let_go_on() {
    let mut machine = Machine::new(2, 1024);
    Guest::boot(&mut machine, CONTROL);
    let domain = machine.add(OTHER);
    domain.on(&machine.hv).pause().unwrap();
    assert!(domain.on(&machine.hv).start_vcpu(domain.vcpu(VcpuId(0)).unwrap(), ENTRY, 0));
    assert_eq!((domain.counter_offset(), domain.system_time(xenolith_arch::now())), (None, 0));
    sim::advance(3600 * SECOND);
    domain.on(&machine.hv).unpause().unwrap();
    machine.settle();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    assert!(counter(cpu) < LITTLE);
    // Another pause does not begin it anew.
    let offset = domain.counter_offset();
    domain.on(&machine.hv).pause().unwrap();
    machine.settle();
    sim::advance(60 * SECOND);
    domain.on(&machine.hv).unpause().unwrap();
    machine.settle();
    assert_eq!(domain.counter_offset(), offset);
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    assert!((60 * SECOND..60 * SECOND + LITTLE).contains(&counter(cpu)));
}

#[test]
fn a_vcpu_that_is_started_later_has_the_domains_time() {
    const CPU_ON: u64 = 0xc400_0003;
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    sim::advance(7 * SECOND);
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let other = machine.cpu_of(&guest.domain, 1).unwrap();
    let (one, two) = (counter(guest.cpu), counter(other));
    assert_eq!(two, one + 1, "a tick passes between the two looks");
}

#[test]
fn the_timer_compares_with_it_on_the_cpu() {
    let (mut machine, _, second) = machine();
    let compare = counter(second.cpu) + SECOND;
    set_timer(&mut machine, second.cpu, compare);
    sim::advance(SECOND - LITTLE);
    machine.settle();
    assert_eq!(take(second.cpu), None);
    sim::advance(LITTLE);
    machine.settle();
    assert_eq!(take(second.cpu), Some(TIMER));
}

#[test]
fn the_timer_compares_with_it_while_the_vcpu_sleeps() {
    let (mut machine, _, second) = machine();
    let compare = counter(second.cpu) + SECOND;
    set_timer(&mut machine, second.cpu, compare);
    assert_eq!(machine.wait(second.cpu), Next::Idle);
    sim::advance(SECOND - LITTLE);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
    sim::advance(LITTLE);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Guest);
    assert_eq!(take(second.cpu), Some(TIMER));
    // A value that the sum has no room for never comes.
    set_timer(&mut machine, second.cpu, u64::MAX - 1);
    assert_eq!(machine.wait(second.cpu), Next::Idle);
    sim::advance(SECOND);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
}

#[test]
fn two_domains_on_one_cpu_have_their_own() {
    let mut machine = Machine::new(1, 1024);
    let first = Guest::boot(&mut machine, CONTROL);
    sim::advance(1000 * SECOND);
    let domain = machine.add(OTHER);
    assert!(domain.on(&machine.hv).start_vcpu(domain.vcpu(VcpuId(0)).unwrap(), ENTRY, 0));
    let second = Guest { domain, cpu: 0 };
    let set = |machine: &mut Machine, guest: &Guest, after: u64| {
        assert_eq!(machine.running(0), Some((guest.domain.id, VcpuId(0))));
        let compare = counter(0) + after;
        set_timer(machine, 0, compare);
        machine.wait(0);
        machine.settle();
    };
    machine.settle();
    if machine.running(0) == Some((second.domain.id, VcpuId(0))) {
        set(&mut machine, &second, 2 * SECOND);
        set(&mut machine, &first, 3 * SECOND);
    } else {
        set(&mut machine, &first, 3 * SECOND);
        set(&mut machine, &second, 2 * SECOND);
    }
    assert_eq!(machine.next(0), Next::Idle);
    for (guest, at) in [(&second, 2 * SECOND), (&first, 1003 * SECOND)] {
        xenolith_arch::wait_for_interrupt();
        machine.settle();
        assert_eq!(machine.running(0), Some((guest.domain.id, VcpuId(0))));
        let now = counter(0);
        assert!((at..at + 2 * LITTLE).contains(&now), "{now} for {at}");
        assert_eq!(take(0), Some(TIMER));
        sim::guest::change_registers(|registers| registers.timer_control = 0);
        machine.wait(0);
    }
}

#[test]
fn a_poll_ends_by_it() {
    let (mut machine, _, second) = machine();
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(0), ..AllocUnbound::default() };
    let op = EventOp::AllocUnbound.number().into();
    assert_eq!(second.call(&mut machine, Hypercall::EventChannelOp, op, &mut offer), 0);
    let (at, ports) = (second.scratch(&machine), second.page(&machine, 2));
    machine.poke(&second.domain, ports, &offer.port);
    let timeout = 5 * BILLION;
    machine.poke(&second.domain, at, &Poll { ports: ports.into(), nr_ports: 1, timeout, ..Poll::default() });
    let arguments = [SchedOp::Poll.number().into(), at, 0, 0, 0];
    assert_eq!(machine.hypercall(second.cpu, Hypercall::SchedOp.number(), arguments), None);
    sim::advance(5 * SECOND - LITTLE);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
    sim::advance(LITTLE);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Guest);
    assert!((5 * SECOND..5 * SECOND + LITTLE).contains(&counter(second.cpu)));
}

#[test]
fn run_states_are_entered_at_it() {
    let (mut machine, _, second) = machine();
    let (at, area) = (second.scratch(&machine), second.page(&machine, 10));
    machine.poke(&second.domain, at, &RegisterRunstateMemoryArea { addr: area.into() });
    assert_eq!(second.plain(&mut machine, Hypercall::VcpuOp, [5, 0, at, 0, 0]), 0);
    let times: RunStateInfo = machine.peek(&second.domain, area);
    assert!(times.state_entry_time < BILLION / 1000, "{times:?}");
}

/// What Linux makes of the two words: it adds its own time.
#[test]
fn the_wall_clock_is_right_in_every_domain() {
    let (mut machine, first, second) = machine();
    // The control domain's clock says that it is the second 5,000,000 now.
    let now = xenolith_arch::now();
    let wall = 5_000_000 * BILLION;
    let own = first.domain.system_time(now);
    assert_eq!(set_time(&mut machine, &first, wall, own), 0);
    for guest in [&first, &second] {
        let told = wall_clock(guest) + guest.domain.system_time(now);
        assert!(told.abs_diff(wall) <= 32, "{told}: but for rounding of a tick");
    }
    // A domain that starts later has it from the start.
    sim::advance(500 * SECOND);
    let domain = machine.add(Plan { id: 2, ..CONTROL });
    assert!(domain.on(&machine.hv).start_vcpu(domain.vcpu(VcpuId(0)).unwrap(), ENTRY, 0));
    let third = Guest { domain, cpu: 0 };
    let told = wall_clock(&third) + third.domain.system_time(now + 500 * SECOND);
    let late = told - (wall + 500 * BILLION);
    assert!(late < BILLION / 1000, "{late} ns: what passed while it was made");
}

/// A pause or a suspension moves no clock: the domain's own time goes on, and what its clock is told of still holds.
#[test]
fn the_wall_clock_is_right_after_a_pause_and_a_suspension() {
    let (mut machine, first, second) = machine();
    let wall = 5_000_000 * BILLION;
    let begun = xenolith_arch::now();
    let own = first.domain.system_time(begun);
    assert_eq!(set_time(&mut machine, &first, wall, own), 0);
    // What a kernel makes of the page and its virtual counter, against the clock that the machine has.
    let is_right = |guest: &Guest, cpu: u16| {
        let told = wall_clock(guest) + xenolith_arch::nanoseconds(counter(cpu));
        let meant = wall + xenolith_arch::nanoseconds(xenolith_arch::now() - begun);
        assert!(told.abs_diff(meant) < BILLION / 1000, "{told}, and it is {meant}");
    };
    let domain = second.domain.clone();
    domain.on(&machine.hv).pause().unwrap();
    machine.settle();
    sim::advance(300 * SECOND);
    domain.on(&machine.hv).unpause().unwrap();
    machine.settle();
    is_right(&second, machine.cpu_of(&domain, 0).unwrap());
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    assert_eq!(machine.firmware(cpu, [0xc400_000e, ENTRY, 0, 0]), None);
    machine.settle();
    assert_eq!(machine.cpu_of(&domain, 0), None);
    sim::advance(300 * SECOND);
    // The control domain sets its clock again meanwhile.
    let own = first.domain.system_time(xenolith_arch::now());
    assert_eq!(set_time(&mut machine, &first, wall + 600 * BILLION, own), 0);
    domain.on(&machine.hv).resume_after_shutdown().unwrap();
    machine.settle();
    is_right(&second, machine.cpu_of(&domain, 0).unwrap());
}

#[test]
fn a_machine_without_a_clock_counts_from_1970() {
    let (mut machine, first, second) = machine();
    // Linux without a clock says that its own time is the time since 1970: then the reset was before that.
    let own = 2 * BILLION;
    assert_eq!(set_time(&mut machine, &first, own, own), 0);
    assert!(wall_clock(&first) <= 32);
    assert!(wall_clock(&second).abs_diff(1000 * BILLION) < BILLION / 1000);
    // And so far before that nothing is left of it.
    assert_eq!(set_time(&mut machine, &first, 0, 400 * BILLION), 0);
    assert_eq!(wall_clock(&first), 0);
    assert_eq!(set_time(&mut machine, &first, 0, u64::MAX), error(xenolith_abi::Errno::EINVAL));
}
