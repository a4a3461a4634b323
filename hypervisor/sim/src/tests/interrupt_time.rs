//! Whom the time is charged to that interrupts take at EL2.

use xenolith_policy::sched::RunState;

use super::super::*;
use super::support::*;

/// A shared interrupt.
const LINE: Intid = Intid(40);
/// What each interrupt takes: two fifths of a turn.
const TAKES: u64 = 250_000;

/// A CPU on which two domains compute. The first of them has the interrupt, or whoever else.
fn two_that_compute(owner: u16) -> (Machine, [Arc<Domain>; 2]) {
    let mut machine = Machine::new(1, 1024);
    let domains = [1, 2].map(|id| machine.boot(Plan { id, ..CONTROL }));
    machine.hv.give_interrupt(LINE, DomId(owner)).unwrap();
    sim::gic::set_trigger(LINE, true);
    sim::gic::enable(LINE);
    (machine, domains)
}

/// Ticks in which a domain's only vCPU was in a state.
fn spent(machine: &Machine, domain: &Domain, state: RunState) -> u64 {
    let times = machine.hv.scheduler.times(domain.vcpus[0].unit).unwrap();
    times.total(state, xenolith_arch::now())
}

/// The interrupt comes, and whoever has it ends it.
fn interrupt(machine: &mut Machine) {
    sim::on_cpu(CpuId(0));
    sim::gic::set_line(LINE, true);
    sim::gic::slow_down(TAKES);
    machine.event(0, Event::Interrupt);
    sim::on_cpu(CpuId(0));
    sim::gic::slow_down(0);
    sim::gic::set_line(LINE, false);
    sim::gic::deactivate(LINE);
}

/// By how much a domain has run longer, and waited longer, when an interrupt has been taken.
fn charged(machine: &mut Machine, domain: &Domain) -> [u64; 2] {
    let now = |machine: &Machine| {
        [RunState::Running, RunState::Runnable].map(|state| spent(machine, domain, state))
    };
    let before = now(machine);
    interrupt(machine);
    let after = now(machine);
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn who_runs_does_not_pay_for_an_interrupt_of_another_domain() {
    for owner in [1, 2, 3] {
        let (mut machine, domains) = two_that_compute(owner);
        let (running, _) = machine.running(0).unwrap();
        let domain = domains.iter().find(|domain| domain.id == running).unwrap();
        let [ran, waited] = charged(&mut machine, domain);
        // Looks at the clock are ticks, too.
        let own = if running.0 == owner { TAKES } else { 0 };
        assert!(ran.abs_diff(own) < 50, "{ran} ticks are charged, the interrupt is domain {owner}'s");
        assert!(waited.abs_diff(TAKES - own) < 50, "{waited} ticks passed beside it");
    }
}

#[test]
fn a_domain_with_many_interrupts_pays_for_them_with_its_share() {
    let (mut machine, [owner, other]) = two_that_compute(1);
    let start = xenolith_arch::now();
    let before = [&owner, &other].map(|domain| spent(&machine, domain, RunState::Running));
    // Two fifths of the time, whoever runs.
    for _ in 0..2000 {
        interrupt(&mut machine);
        for _ in 0..3 {
            sim::advance(TAKES / 2);
            machine.settle();
        }
    }
    let all = xenolith_arch::now() - start;
    let [_, ran] = {
        let after = [&owner, &other].map(|domain| spent(&machine, domain, RunState::Running));
        [after[0] - before[0], after[1] - before[1]]
    };
    let share = ran * 1000 / all;
    assert!((470..=530).contains(&share), "{share} thousandths for the domain that has no interrupt");
}

#[test]
fn a_timer_of_a_vcpu_that_sleeps_is_its_own_domain_s() {
    let (mut machine, domains) = two_that_compute(3);
    let (sleeper, _) = machine.running(0).unwrap();
    let soon = xenolith_arch::now() + 5000;
    sim::guest::change_registers(|registers| {
        registers.timer_control = 1;
        registers.timer_compare = soon.wrapping_sub(registers.counter_offset);
    });
    machine.wait(0);
    let (running, _) = machine.running(0).unwrap();
    assert_ne!(sleeper, running);
    let domain = domains.iter().find(|domain| domain.id == running).unwrap();
    sim::advance(5000);
    let before = spent(&machine, domain, RunState::Runnable);
    machine.event(0, Event::Interrupt);
    assert!(spent(&machine, domain, RunState::Runnable) > before, "the waking is charged to who ran");
}
