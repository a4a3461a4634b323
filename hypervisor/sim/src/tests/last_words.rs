//! A control domain whose output has a kernel's last words in it: its own, or those of a guest that it shows.

use std::panic::{self, AssertUnwindSafe};

use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::support::*;
use xenolith_arch::machine::Ending;
use xenolith_domain::life::crash::PATIENCE;
use xenolith_isa::regs::Pstate;
use xenolith_policy::sched::CpuMask;

/// A machine with two CPUs, on one of which the control domain runs.
fn machine() -> (Machine, Guest) {
    let mut machine = Machine::new(2, 1024);
    let first = Guest::boot(&mut machine, CONTROL);
    (machine, first)
}

fn say_last_words(machine: &mut Machine, guest: &Guest) {
    let words = b"[   12.345678] Kernel panic - not syncing: no init\n";
    let at = guest.scratch(machine);
    machine.poke(&guest.domain, at, words);
    assert_eq!(guest.plain(machine, Hypercall::ConsoleIo, [0, words.len() as u64, at, 0, 0]), 0);
}

/// The vCPU is found in a program.
fn run_a_program(machine: &mut Machine, guest: &Guest) {
    let kernel = core::mem::replace(&mut machine.regs(guest.cpu).pstate, Pstate(Pstate::EL0));
    machine.event(guest.cpu, Event::Interrupt);
    machine.regs(guest.cpu).pstate = kernel;
}

/// Lets nanoseconds pass. How the machine ends, if it does.
fn pass(machine: &mut Machine, nanoseconds: u64) -> Option<Ending> {
    sim::advance(xenolith_arch::ticks(nanoseconds));
    let payload = panic::catch_unwind(AssertUnwindSafe(|| machine.settle())).err()?;
    payload.downcast_ref().copied()
}

#[test]
fn a_kernel_that_spins_after_them_has_crashed() {
    let (mut machine, first) = machine();
    say_last_words(&mut machine, &first);
    assert_eq!(pass(&mut machine, PATIENCE - 1_000_000), None);
    assert_eq!(pass(&mut machine, 2_000_000), Some(Ending::Reset));
}

#[test]
fn a_kernel_that_runs_a_program_after_them_goes_on() {
    let (mut machine, first) = machine();
    say_last_words(&mut machine, &first);
    run_a_program(&mut machine, &first);
    assert_eq!(pass(&mut machine, 2 * PATIENCE), None);
}

#[test]
fn a_kernel_that_sleeps_after_them_goes_on() {
    let (mut machine, first) = machine();
    say_last_words(&mut machine, &first);
    assert_eq!(machine.wait(first.cpu), Next::Idle);
    assert_eq!(pass(&mut machine, 2 * PATIENCE), None);
}

#[test]
fn each_suspicion_has_the_whole_time() {
    let (mut machine, mut first) = machine();
    say_last_words(&mut machine, &first);
    run_a_program(&mut machine, &first);
    // The vCPU moves, so that the end of the first suspicion is noted on a CPU where the second one is not.
    let (unit, to) = (first.domain.vcpus[0].unit, 1 - first.cpu);
    let kicks =
        machine.hv.scheduler.set_affinity(unit, CpuMask::one(CpuId(to)), xenolith_arch::now()).unwrap();
    sim::on_cpu(CpuId(first.cpu));
    machine.hv.kick(kicks);
    machine.settle();
    assert_eq!(machine.cpu_of(&first.domain, 0), Some(to));
    first.cpu = to;
    assert_eq!(pass(&mut machine, PATIENCE - 1_000_000), None);
    say_last_words(&mut machine, &first);
    assert_eq!(pass(&mut machine, 2_000_000), None, "the end of the first suspicion");
    assert_eq!(pass(&mut machine, PATIENCE), Some(Ending::Reset), "the end of the second");
}
