//! A device model's guest under `sched=pinned`: whoever waits keeps its CPU.

use super::super::super::{Machine, Plan};
use super::super::support::{CONTROL, Guest, OTHER};
use super::model::{Model, REGISTER};
use xenolith_host::command_line::{Options, Scheduler};

/// Two CPUs: the control domain has one, its guest the other, and a third domain waits for one to be free.
fn three_on_two() -> (Machine, Model) {
    let options = Options { scheduler: Scheduler::Pinned, ..Options::default() };
    let mut machine = Machine::with_options(2, 2048, options);
    let own = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, OTHER);
    let model = Model::attach(&mut machine, own, guest);
    let third = machine.boot(Plan { id: 2, ..CONTROL });
    assert_eq!(machine.cpu_of(&third, 0), None);
    (machine, model)
}

#[test]
fn a_vcpu_that_waits_for_an_answer_keeps_its_cpu() {
    let (mut machine, model) = three_on_two();
    let cpu = model.guest.cpu;
    machine.load(cpu, REGISTER, 4);
    machine.settle();
    assert_eq!(machine.running(cpu), None);
    model.answer(&mut machine, 0, 7);
    assert_eq!(machine.cpu_of(&model.guest.domain, 0), Some(cpu));
    assert_eq!(machine.regs(cpu).x[1], 7);
}

#[test]
fn a_paused_vcpu_keeps_its_cpu() {
    let (mut machine, model) = three_on_two();
    let cpu = model.guest.cpu;
    assert_eq!(model.guest.domain.on(&machine.hv).pause(), Ok(()));
    machine.settle();
    assert_eq!(machine.running(cpu), None);
    assert_eq!(model.guest.domain.on(&machine.hv).unpause(), Ok(()));
    machine.settle();
    assert_eq!(machine.cpu_of(&model.guest.domain, 0), Some(cpu));
}

#[test]
fn a_vcpu_that_is_turned_off_or_destroyed_makes_room() {
    const CPU_OFF: u64 = 0x8400_0002;
    let (mut machine, model) = three_on_two();
    let cpu = model.guest.cpu;
    let third = machine.hv.domain(xenolith_core::types::DomId(2)).unwrap();
    assert_eq!(machine.firmware(cpu, [CPU_OFF, 0, 0, 0]), None);
    machine.settle();
    assert_eq!(machine.cpu_of(&third, 0), Some(cpu));
    assert!(model.guest.domain.on(&machine.hv).start_vcpu(&model.guest.domain.vcpus[0], 0x1000, 0));
    machine.settle();
    assert_eq!(machine.cpu_of(&model.guest.domain, 0), None);
    // The frames that somebody still holds do not keep the CPU.
    let frame = third.on(&machine.hv).get_frame(super::super::super::RAM_BASE).unwrap();
    while machine.hv.destroy_domain(&third, 0) == Ok(xenolith_domain::parts::progress::Progress::Again) {
        machine.settle();
    }
    machine.settle();
    assert!(machine.hv.domain(third.id).is_some());
    assert_eq!(machine.cpu_of(&model.guest.domain, 0), Some(cpu));
    machine.hv.put_frame(frame);
}
