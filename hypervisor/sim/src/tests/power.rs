//! PSCI, and how domains end.

use std::panic::{self, AssertUnwindSafe};

use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::Shutdown;

use super::super::*;
use super::support::*;
use xenolith_arch::machine::Ending;
use xenolith_host::command_line::CrashAction;
use xenolith_isa::regs::Pstate;

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;

/// How the machine ends when something is done.
fn ending(act: impl FnOnce()) -> Option<Ending> {
    let payload = panic::catch_unwind(AssertUnwindSafe(act)).err()?;
    payload.downcast_ref().copied()
}

#[test]
fn vcpus_are_turned_on_and_off() {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 3, ..CONTROL });
    let cpu = guest.cpu;
    assert_eq!(machine.firmware(cpu, [AFFINITY_INFO, 1, 0, 0]), Some(1));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, 0x1000, 0x77]), Some(0));
    machine.settle();
    assert_eq!(machine.firmware(cpu, [AFFINITY_INFO, 1, 0, 0]), Some(0));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, 0x1000, 0]), Some(-4_i64 as u64));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 9, 0x1000, 0]), Some(-2_i64 as u64));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 2, 0x1001, 0]), Some(-9_i64 as u64));
    let other = machine.cpu_of(&guest.domain, 1).expect("the second CPU is free for it");
    let regs = *machine.regs(other);
    assert_eq!((regs.pc, regs.x[0], regs.pstate), (0x1000, 0x77, Pstate::EL1_ENTRY));
    assert_eq!(sim::this_cpu(), CpuId(cpu));

    assert_eq!(machine.firmware(other, [CPU_OFF, 0, 0, 0]), None);
    machine.settle();
    assert_eq!(machine.next(other), Next::Idle);
    assert_eq!(machine.firmware(cpu, [AFFINITY_INFO, 1, 0, 0]), Some(1));
    assert_eq!(machine.firmware(cpu, [CPU_ON, 1, 0x2000, 5]), Some(0));
    machine.settle();
    assert_eq!(machine.regs_of(&guest.domain, 1).pc, 0x2000);
}

#[test]
fn each_vcpu_has_registers_of_its_own() {
    let mut machine = Machine::new(1, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    sim::guest::change_registers(|registers| registers.tpidr = 0xa0);
    machine.regs(0).x[20] = 0x20;
    assert_eq!(machine.firmware(0, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.wait(0);
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(1))));
    assert_eq!((sim::guest::registers().tpidr, sim::guest::registers().vmpidr & 0xff), (0, 1));
    assert_eq!(machine.regs(0).x[20], 0);
    guest.domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.wait(0);
    machine.settle();
    assert_eq!(machine.next(0), Next::Idle, "the interrupt controller is off: nothing wakes them");
    machine.hv.wake(guest.domain.vcpus[0].unit);
    machine.settle();
    assert_eq!((sim::guest::registers().tpidr, machine.regs(0).x[20]), (0xa0, 0x20));
}

#[test]
fn the_machine_ends_with_the_first_domain() {
    let by_firmware = |function| {
        let (mut machine, guest) = Guest::alone();
        ending(|| {
            machine.firmware(guest.cpu, [function, 0, 0, 0]);
        })
    };
    assert_eq!(by_firmware(SYSTEM_OFF), Some(Ending::PowerOff));
    assert_eq!(by_firmware(SYSTEM_RESET), Some(Ending::Reset));
    let by_call = |reason, after_crash| {
        let mut machine = Machine::with_options(1, 1024, Options { after_crash, ..Options::default() });
        let guest = Guest::boot(&mut machine, CONTROL);
        ending(|| {
            guest.call(&mut machine, Hypercall::SchedOp, 2, &mut Shutdown { reason });
        })
    };
    assert_eq!(by_call(0, CrashAction::Halt), Some(Ending::PowerOff));
    assert_eq!(by_call(1, CrashAction::Halt), Some(Ending::Reset));
    assert_eq!(by_call(3, CrashAction::Halt), Some(Ending::Halt));
    assert_eq!(by_call(3, CrashAction::Reboot), Some(Ending::Reset));
    assert_eq!(by_call(4, CrashAction::Reboot), Some(Ending::Reset));
    assert_eq!(by_call(99, CrashAction::Halt), None, "there is no such reason");
}

#[test]
fn another_domain_ends_alone() {
    let (mut machine, first, second) = Guest::two();
    let at = second.scratch(&machine);
    machine.poke(&second.domain, at, &Shutdown { reason: 1 });
    assert_eq!(machine.hypercall(second.cpu, Hypercall::SchedOp.number(), [2, at, 0, 0, 0]), None);
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
    assert_eq!(machine.running(first.cpu), Some((DomId(0), VcpuId(0))));
    assert_eq!(second.domain.shutdown_reason(), Some(xenolith_abi::sched::ShutdownReason::Reboot));
    assert_eq!(machine.audit(), Ok(()));
}
