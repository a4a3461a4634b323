//! Domains that suspend themselves through their firmware, and what lets them go on.

use xenolith_abi::domctl::info_flag;
use xenolith_abi::event::BindVirq;
use xenolith_abi::sched::{RemoteShutdown, Shutdown, ShutdownReason};
use xenolith_isa::regs::Pstate;

use super::*;

const SYSTEM_SUSPEND: u64 = 0xc400_000e;
const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;
const FEATURES: u64 = 0x8400_000a;
/// What PSCI answers.
const NOT_SUPPORTED: u64 = -1_i64 as u64;
const DENIED: u64 = -3_i64 as u64;
const INVALID_ADDRESS: u64 = -9_i64 as u64;
/// Where the guest goes on, and with what.
const AGAIN: [u64; 2] = [ENTRY + 0x2000, 0x77];

/// A machine with a domain of two vCPUs that runs; of its CPU 0.
fn started() -> (Machine, Toolstack, Arc<Domain>, u16) {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    let id = create::build(&mut machine, &tools);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
    let domain = machine.hv.domain(DomId(id)).unwrap();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    (machine, tools, domain, cpu)
}

fn suspend(machine: &mut Machine, cpu: u16) -> Option<u64> {
    let answer = machine.firmware(cpu, [SYSTEM_SUSPEND, AGAIN[0], AGAIN[1], 0]);
    machine.settle();
    answer
}

/// The reason for which it has shut down.
fn reason(machine: &mut Machine, tools: &Toolstack) -> Option<u32> {
    let flags = tools.info(machine, 1).unwrap().flags;
    (flags & info_flag::SHUTDOWN != 0).then_some(flags >> 16)
}

/// It runs from where it said, in the state in which a vCPU is turned on.
fn has_gone_on(machine: &mut Machine, domain: &Domain) -> bool {
    let Some(cpu) = machine.cpu_of(domain, 0) else { return false };
    let registers = *machine.regs(cpu);
    assert_eq!((registers.pc, registers.x[0], registers.pstate), (AGAIN[0], AGAIN[1], Pstate::EL1_ENTRY));
    sim::on_cpu(CpuId(cpu));
    assert_eq!(sim::guest::registers().tpidr, 0, "a vCPU that is turned on begins with registers of its own");
    assert_eq!(sim::guest::registers().vmpidr & 0xff, 0);
    true
}

/// The guest's interrupt controller is on, with all private interrupts.
fn take_interrupts(machine: &mut Machine, cpu: u16) {
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(cpu, REDISTRIBUTORS + 0x1_0080, 4, 0xffff_ffff);
    machine.store(cpu, REDISTRIBUTORS + 0x1_0100, 4, 0xffff_ffff);
}

#[test]
fn the_toolstack_lets_it_go_on() {
    let (mut machine, tools, domain, cpu) = started();
    assert_eq!(machine.firmware(cpu, [FEATURES, SYSTEM_SUSPEND, 0, 0]), Some(0));
    sim::on_cpu(CpuId(cpu));
    sim::guest::change_registers(|registers| registers.tpidr = 0xa0);
    let mut bind = BindVirq { virq: 3, ..BindVirq::default() };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(machine.cpu_of(&domain, 0), None);
    let told = tools.guest.domain.events.lock().poll(VcpuId(0), &[bind.port]);
    assert_eq!((told, reason(&mut machine, &tools)), (Ok(true), Some(2)));
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert!(has_gone_on(&mut machine, &domain));
    assert_eq!(reason(&mut machine, &tools), None);
    // As often as it likes; and once it goes on, to let it go on changes nothing.
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    machine.regs(cpu).pc = ENTRY;
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert_eq!(machine.regs(cpu).pc, ENTRY);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert!(has_gone_on(&mut machine, &domain));
    // The other vCPU is off, and can be turned on.
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, ENTRY, 0]), Some(0));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_cannot_be_is_refused() {
    let (mut machine, tools, _, cpu) = started();
    let control = tools.guest.cpu;
    assert_eq!(machine.firmware(control, [FEATURES, SYSTEM_SUSPEND, 0, 0]), Some(NOT_SUPPORTED));
    assert_eq!(suspend(&mut machine, control), Some(NOT_SUPPORTED), "who would let it go on?");
    assert_eq!(machine.firmware(cpu, [SYSTEM_SUSPEND, ENTRY + 1, 0, 0]), Some(INVALID_ADDRESS));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, ENTRY, 0]), Some(0));
    assert_eq!(suspend(&mut machine, cpu), Some(DENIED), "another vCPU is on");
    assert_eq!(reason(&mut machine, &tools), None);
}

#[test]
fn the_last_vcpu_suspends_it() {
    let (mut machine, tools, domain, cpu) = started();
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, ENTRY, 0]), Some(0));
    // The control domain sleeps, and leaves its CPU to the other vCPU.
    machine.wait(tools.guest.cpu);
    machine.settle();
    let other = machine.cpu_of(&domain, 1).expect("vCPU 1 runs");
    assert_eq!(machine.firmware(other, [CPU_OFF, 0, 0, 0]), None);
    machine.settle();
    assert_eq!(suspend(&mut machine, cpu), None);
    assert!(domain.has_shut_down());
    assert_eq!(domain.shutdown_reason(), Some(ShutdownReason::Suspend));
}

#[test]
fn an_event_wakes_it() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(reason(&mut machine, &tools), Some(2));
    domain.on(&machine.hv).raise_event(VcpuId(1));
    machine.settle();
    assert_eq!(reason(&mut machine, &tools), Some(2), "the event of a vCPU that is off");
    domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert!(has_gone_on(&mut machine, &domain));
    assert_eq!(reason(&mut machine, &tools), None);
}

#[test]
fn an_interrupt_that_the_guest_has_disabled_does_not() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    machine.store(cpu, REDISTRIBUTORS + 0x1_0180, 4, 0xffff_ffff);
    assert_eq!(suspend(&mut machine, cpu), None);
    domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert_eq!(reason(&mut machine, &tools), Some(2));
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert!(has_gone_on(&mut machine, &domain));
}

#[test]
fn an_interrupt_that_waits_lets_it_go_on_at_once() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    domain.on(&machine.hv).raise_event(VcpuId(0));
    let mut bind = BindVirq { virq: 3, ..BindVirq::default() };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
    assert_eq!(suspend(&mut machine, cpu), Some(AGAIN[1]));
    assert!(has_gone_on(&mut machine, &domain));
    let told = tools.guest.domain.events.lock().poll(VcpuId(0), &[bind.port]);
    assert_eq!((told, reason(&mut machine, &tools)), (Ok(false), None));
}

/// A kernel on its way to sleep turns its timer off with interrupts masked, and the timer may just have fired.
#[test]
fn a_timer_that_was_turned_off_does_not_wake_it() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    domain.on(&machine.hv).raise_private(VcpuId(0), domain.arch.guest_timer);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
    sim::guest::change_registers(|registers| (registers.timer_control, registers.timer_compare) = (0, 0));
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(reason(&mut machine, &tools), Some(2));
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert!(has_gone_on(&mut machine, &domain));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn its_timer_wakes_it() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    sim::on_cpu(CpuId(cpu));
    let compare = sim::guest::counter() + 1_000_000;
    sim::guest::change_registers(|registers| {
        (registers.timer_control, registers.timer_compare) = (1, compare)
    });
    assert_eq!(suspend(&mut machine, cpu), None);
    sim::advance(500_000);
    machine.settle();
    assert_eq!(reason(&mut machine, &tools), Some(2));
    sim::advance(600_000);
    machine.settle();
    assert!(has_gone_on(&mut machine, &domain));
    assert_eq!(reason(&mut machine, &tools), None);
}

#[test]
fn a_suspended_domain_can_be_paused_and_destroyed() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(tools.simple(&mut machine, DomctlOp::PauseDomain, 1), 0);
    domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert_eq!(reason(&mut machine, &tools), None, "awake, and paused");
    assert_eq!(machine.cpu_of(&domain, 0), None);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, 1), 0);
    assert!(has_gone_on(&mut machine, &domain));
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    domain.on(&machine.hv).change_vgic(|vgic| vgic.set_level(Some(VcpuId(0)), domain.arch.event_ppi, false));
    machine.store(cpu, REDISTRIBUTORS + 0x1_0280, 4, 0xffff_ffff);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(reason(&mut machine, &tools), Some(2));
    assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, 1), 0);
    domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert_eq!(machine.audit(), Ok(()));
}

/// A call that only says that the domain suspends itself (Xen's `xl save` has a guest make it) returns where it was made.
#[test]
fn a_call_that_suspends_returns() {
    let (mut machine, tools, domain, cpu) = started();
    take_interrupts(&mut machine, cpu);
    let at = ENTRY + 0x1000;
    machine.poke(&domain, at, &Shutdown { reason: 2 });
    assert_eq!(machine.hypercall(cpu, Hypercall::SchedOp.number(), [2, at, 0, 0, 0]), None);
    machine.settle();
    let before = machine.regs_of(&domain, 0);
    domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert_eq!(reason(&mut machine, &tools), Some(2), "nothing but the toolstack wakes it");
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert_eq!(machine.regs_of(&domain, 0).pc, before.pc);
}

/// What the toolstack wanted first is what happens.
#[test]
fn it_does_not_suspend_while_it_ends() {
    let (mut machine, tools, domain, cpu) = started();
    let mut request = RemoteShutdown { domain_id: DomId(1), pad: 0, reason: 0 };
    domain.announce_shutdown(ShutdownReason::Crash);
    assert_eq!(suspend(&mut machine, cpu), None);
    assert_eq!(reason(&mut machine, &tools), Some(3), "what was announced");
    assert_eq!(tools.guest.call(&mut machine, Hypercall::SchedOp, 4, &mut request), 0);
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    assert_eq!(machine.regs(cpu).x[0], DENIED);
}
