//! System errors: whose they are, when a vCPU takes its own, and what becomes of those that are nobody's.

use xenolith_core::cpu_mask::CpuMask;
use xenolith_domain::parts::progress::Progress;
use xenolith_isa::regs::Pstate;
use xenolith_isa::system_error::SystemError;

use super::super::*;
use super::support::*;

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
/// ESR_ELx as a CPU with RAS reports a store that a device has refused, and a corrected error of memory.
const REFUSED: u64 = 0xbe00_0011;
const CORRECTED: u64 = 0xbe00_1811;
/// VBAR_EL1 of the guests, and the offset of the vector for a system error at EL1.
const VECTORS: u64 = 0xffff_0000;
const VECTOR: u64 = 0x380;
/// EL1 with its own stack and nothing masked.
const UNMASKED: Pstate = Pstate(Pstate::EL1H);

/// A machine of so many CPUs with the control domain and another one, whose guests have vectors and mask nothing. With one
/// CPU the control domain sleeps.
fn guests(cpus: u16) -> (Machine, Guest, Guest) {
    let mut machine = Machine::new(cpus, 1024);
    let control = Guest::boot(&mut machine, CONTROL);
    begin(&mut machine, control.cpu);
    if cpus == 1 {
        machine.wait(0);
    }
    let other = Guest::boot(&mut machine, OTHER);
    begin(&mut machine, other.cpu);
    (machine, control, other)
}

/// The guest on a CPU sets itself up.
fn begin(machine: &mut Machine, cpu: u16) {
    sim::on_cpu(CpuId(cpu));
    sim::guest::change_registers(|registers| registers.vbar = VECTORS);
    machine.regs(cpu).pstate = UNMASKED;
}

/// The guest on a CPU stores to a device that refuses it. Nothing shows yet.
fn store_in_vain(cpu: u16, esr: u64) {
    sim::on_cpu(CpuId(cpu));
    sim::refuse_access(SystemError::of_syndrome(esr));
}

/// Whether the guest on a CPU is where it takes a system error, and finds this syndrome.
fn has_taken(machine: &mut Machine, cpu: u16, esr: u64) -> bool {
    sim::on_cpu(CpuId(cpu));
    machine.regs(cpu).pc == VECTORS + VECTOR && sim::guest::registers().esr == esr
}

/// The guest on a CPU has had no system error, and none waits for it.
fn is_untouched(machine: &mut Machine, cpu: u16) -> bool {
    sim::on_cpu(CpuId(cpu));
    let registers = sim::guest::registers();
    machine.regs(cpu).pc != VECTORS + VECTOR && registers.esr == 0 && registers.virtual_error.is_none()
}

/// The domain's first vCPU has something to do.
fn wake(machine: &mut Machine, domain: &Domain) {
    machine.hv.wake(domain.vcpus[0].unit);
    machine.settle();
}

#[test]
fn an_error_is_of_the_vcpu_that_caused_it_and_not_of_the_next() {
    let (mut machine, control, other) = guests(1);
    wake(&mut machine, &control.domain);
    assert_eq!(machine.running(0), Some((DomId(1), VcpuId(0))), "the control domain waits for its turn");
    store_in_vain(0, REFUSED);
    machine.wait(0);
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(0))));
    assert!(is_untouched(&mut machine, 0), "it has done nothing");
    // The other one's WFI has ended by it.
    machine.wait(0);
    assert_eq!(machine.running(0), Some((other.domain.id, VcpuId(0))));
    assert!(has_taken(&mut machine, 0, REFUSED));
    machine.wait(0);
    machine.settle();
    assert_eq!(machine.next(0), Next::Idle, "it comes once");
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn one_that_surfaces_while_its_vcpu_runs_is_taken_at_once() {
    let (mut machine, _, other) = guests(2);
    store_in_vain(other.cpu, REFUSED);
    machine.event(other.cpu, Event::Interrupt);
    assert!(has_taken(&mut machine, other.cpu, REFUSED));
}

#[test]
fn a_vcpu_that_masks_system_errors_takes_it_when_it_unmasks_them() {
    let (mut machine, control, other) = guests(1);
    let entered = Pstate(Pstate::EL1H | Pstate::A);
    machine.regs(0).pstate = entered;
    let pc = machine.regs(0).pc;
    store_in_vain(0, REFUSED);
    machine.event(0, Event::Interrupt);
    assert_eq!((machine.regs(0).pc, machine.regs(0).pstate), (pc, entered), "its own entry is not disturbed");
    // It stays pending while others run.
    for _ in 0..3 {
        wake(&mut machine, &control.domain);
        machine.wait(0);
        assert_eq!(machine.running(0), Some((DomId(0), VcpuId(0))));
        assert!(is_untouched(&mut machine, 0));
        machine.wait(0);
        wake(&mut machine, &other.domain);
        assert_eq!((machine.running(0), machine.regs(0).pstate), (Some((DomId(1), VcpuId(0))), entered));
    }
    machine.regs(0).pstate = UNMASKED;
    machine.event(0, Event::Interrupt);
    assert!(has_taken(&mut machine, 0, REFUSED));
}

#[test]
fn it_moves_to_another_cpu_with_its_vcpu() {
    let (mut machine, control, other) = guests(2);
    machine.regs(other.cpu).pstate = Pstate(Pstate::EL1H | Pstate::A);
    store_in_vain(other.cpu, REFUSED);
    let unit = other.domain.vcpus[0].unit;
    let to = CpuMask::one(CpuId(control.cpu));
    machine.wait(control.cpu);
    machine.hv.kick(machine.hv.scheduler.set_affinity(unit, to, xenolith_arch::now()).unwrap());
    machine.settle();
    assert_eq!(machine.cpu_of(&other.domain, 0), Some(control.cpu));
    assert!(!has_taken(&mut machine, control.cpu, REFUSED), "it is masked");
    machine.regs(control.cpu).pstate = UNMASKED;
    machine.event(control.cpu, Event::Interrupt);
    assert!(has_taken(&mut machine, control.cpu, REFUSED));
    sim::on_cpu(CpuId(other.cpu));
    assert_eq!(sim::guest::registers().virtual_error, None, "the CPU that it has left keeps nothing");
}

#[test]
fn a_domain_that_is_destroyed_takes_it_with_it() {
    let (mut machine, control, other) = guests(1);
    wake(&mut machine, &control.domain);
    assert_eq!(machine.running(0), Some((DomId(1), VcpuId(0))), "the control domain comes next");
    store_in_vain(0, REFUSED);
    while machine.hv.destroy_domain(&other.domain, 1000) == Ok(Progress::Again) {
        machine.settle();
        assert_eq!(machine.running(0), Some((DomId(0), VcpuId(0))));
        assert!(is_untouched(&mut machine, 0));
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_vcpu_that_is_turned_off_begins_without_it() {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..OTHER });
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, ENTRY, 0]), Some(0));
    machine.settle();
    let second = machine.cpu_of(&guest.domain, 1).unwrap();
    // It begins with everything masked.
    store_in_vain(second, REFUSED);
    assert_eq!(machine.firmware(second, [CPU_OFF, 0, 0, 0]), None);
    machine.settle();
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, ENTRY, 0]), Some(0));
    machine.settle();
    let second = machine.cpu_of(&guest.domain, 1).unwrap();
    begin(&mut machine, second);
    machine.event(second, Event::Interrupt);
    assert!(is_untouched(&mut machine, second));
}

#[test]
fn a_corrected_error_is_told_to_no_guest() {
    let (mut machine, _, other) = guests(2);
    store_in_vain(other.cpu, CORRECTED);
    machine.event(other.cpu, Event::Interrupt);
    assert!(is_untouched(&mut machine, other.cpu));
}

#[test]
fn one_that_comes_while_a_cpu_runs_nothing_is_nobodys() {
    let (mut machine, _, other) = guests(1);
    machine.wait(0);
    assert_eq!(machine.next(0), Next::Idle);
    // It wakes the CPU, which sleeps again.
    store_in_vain(0, REFUSED);
    assert!(xenolith_arch::interrupt_waits());
    assert_eq!(machine.event(0, Event::Interrupt), Next::Idle);
    assert!(!xenolith_arch::interrupt_waits(), "it does not wake it for ever");
    // Another one comes just before the CPU takes a vCPU.
    store_in_vain(0, REFUSED);
    machine.hv.wake(other.domain.vcpus[0].unit);
    sim::refuse_access(SystemError::of_syndrome(REFUSED));
    machine.settle();
    assert_eq!(machine.running(0), Some((DomId(1), VcpuId(0))));
    assert!(is_untouched(&mut machine, 0));
}
