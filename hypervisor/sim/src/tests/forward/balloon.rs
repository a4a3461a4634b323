//! Pages that leave a guest's memory: who waits until the device models have dropped their mappings.

use xenolith_abi::hypercall::Hypercall;

use super::super::super::{Machine, Plan, RAM_BASE};
use super::super::support::{CONTROL, Guest, OTHER};
use super::model::Model;
use xenolith_arch::sim;
use xenolith_core::types::{CpuId, Gfn};
use xenolith_cpu::Next;

const CPU_ON: u64 = 0xc400_0003;
/// A page of the guest's RAM.
const PAGE: Gfn = Gfn(RAM_BASE.0 + 20);

/// A guest of two vCPUs with a device model; a CPU for each vCPU. Returns the CPU of the guest's second vCPU too.
fn two_vcpus() -> (Machine, Model, u16) {
    let mut machine = Machine::new(3, 2048);
    let own = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..OTHER });
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let second = machine.cpu_of(&guest.domain, 1).expect("a CPU is free for it");
    let model = Model::attach(&mut machine, own, guest);
    (machine, model, second)
}

/// A call that takes nothing away: whether the vCPU waits at its end.
fn call_waits(machine: &mut Machine, cpu: u16) -> bool {
    let _ = machine.hypercall(cpu, Hypercall::XenVersion.number(), [0; 5]);
    machine.next(cpu) == Next::Idle
}

#[test]
fn the_vcpu_that_gave_them_up_waits_and_no_other() {
    let (mut machine, model, second) = two_vcpus();
    // In the middle of a call of vCPU 0, the other vCPU makes one.
    sim::on_cpu(CpuId(model.guest.cpu));
    assert_eq!(model.guest.domain.on(&machine.hv).give_page_back(PAGE), Ok(()));
    assert!(!call_waits(&mut machine, second));
    assert!(call_waits(&mut machine, model.guest.cpu));
    model.answer(&mut machine, 0, 0);
    assert!(model.guest_runs(&machine));
    assert!(!call_waits(&mut machine, model.guest.cpu), "it is told once");
}

#[test]
fn every_vcpu_waits_when_somebody_else_takes_them() {
    let (mut machine, model, second) = two_vcpus();
    sim::on_cpu(CpuId(model.own.cpu));
    assert_eq!(model.guest.domain.on(&machine.hv).give_page_back(PAGE), Ok(()));
    assert!(!call_waits(&mut machine, model.own.cpu), "the control domain maps its own memory nowhere");
    assert!(call_waits(&mut machine, second));
    assert!(call_waits(&mut machine, model.guest.cpu));
    model.answer(&mut machine, 0, 0);
    model.answer(&mut machine, 1, 0);
    assert!(model.guest_runs(&machine));
    assert!(machine.cpu_of(&model.guest.domain, 1).is_some());
}
