//! The virtual timer's interrupt follows the timer's line: what the guest has not taken goes when the line falls.

use super::super::*;
use super::support::*;

const TIMER: Intid = sim::gic::GUEST_TIMER;
const TIMER_BIT: u64 = 1 << TIMER.0;
/// Registers of the private interrupts of vCPU 0.
const SET_ENABLE: u64 = REDISTRIBUTORS + 0x1_0100;
const CLEAR_ENABLE: u64 = REDISTRIBUTORS + 0x1_0180;
const SET_PENDING: u64 = REDISTRIBUTORS + 0x1_0200;
const CLEAR_PENDING: u64 = REDISTRIBUTORS + 0x1_0280;

/// A guest that takes interrupts, its timer's if `enabled`, and whose timer has fired.
fn fired(enabled: bool) -> (Machine, Guest) {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, CONTROL);
    machine.store(guest.cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(guest.cpu, REDISTRIBUTORS + 0x1_0080, 4, 0xffff_ffff);
    machine.store(guest.cpu, if enabled { SET_ENABLE } else { CLEAR_ENABLE }, 4, TIMER_BIT);
    fire(&mut machine, &guest);
    (machine, guest)
}

/// The timer comes to its time, and EL2 takes the interrupt.
fn fire(machine: &mut Machine, guest: &Guest) {
    sim::on_cpu(CpuId(guest.cpu));
    let compare = sim::guest::counter();
    sim::guest::change_registers(|registers| {
        (registers.timer_control, registers.timer_compare) = (1, compare);
    });
    machine.settle();
    assert!(is_active(guest), "EL2 has taken it");
}

/// The guest turns its timer off. No trap tells EL2.
fn turn_off(guest: &Guest) {
    sim::on_cpu(CpuId(guest.cpu));
    sim::guest::change_registers(|registers| registers.timer_control = 0);
}

/// Whether the physical interrupt is active on the guest's CPU.
fn is_active(guest: &Guest) -> bool {
    sim::on_cpu(CpuId(guest.cpu));
    sim::gic::line(TIMER).active
}

fn take(guest: &Guest) -> Option<Intid> {
    sim::on_cpu(CpuId(guest.cpu));
    sim::guest::take()
}

#[test]
fn it_is_not_pending_when_the_line_has_fallen() {
    let (mut machine, guest) = fired(false);
    for register in [SET_PENDING, CLEAR_PENDING] {
        assert_eq!(machine.load(guest.cpu, register, 4), TIMER_BIT);
    }
    turn_off(&guest);
    assert_eq!(machine.load(guest.cpu, SET_PENDING, 4), 0);
    assert!(!is_active(&guest));
    machine.store(guest.cpu, SET_ENABLE, 4, TIMER_BIT);
    machine.settle();
    assert_eq!(take(&guest), None);
    fire(&mut machine, &guest);
    assert_eq!(take(&guest), Some(TIMER), "the next one comes");
}

#[test]
fn it_does_not_come_when_it_is_enabled_later() {
    let (mut machine, guest) = fired(false);
    turn_off(&guest);
    machine.store(guest.cpu, SET_ENABLE, 4, TIMER_BIT);
    machine.settle();
    assert_eq!(take(&guest), None);
    assert!(!is_active(&guest));
}

#[test]
fn it_comes_when_it_is_enabled_while_the_line_is_up() {
    let (mut machine, guest) = fired(false);
    machine.store(guest.cpu, SET_ENABLE, 4, TIMER_BIT);
    machine.settle();
    assert_eq!(take(&guest), Some(TIMER));
}

/// As with interrupts masked in PSTATE.
#[test]
fn what_a_list_register_has_goes_at_the_next_exit_that_presents() {
    let (mut machine, guest) = fired(true);
    turn_off(&guest);
    // The event interrupt is presented, and with it all others.
    machine.store(guest.cpu, SET_ENABLE, 4, 1 << EVENT_PPI.0);
    guest.domain.on(&machine.hv).raise_event(VcpuId(0));
    machine.settle();
    assert_eq!(take(&guest).filter(|&intid| intid == TIMER), None);
    assert!(!is_active(&guest));
}

/// The line falls while a list register has the interrupt, and the vCPU leaves the CPU before anybody looks.
#[test]
fn what_is_carried_to_the_next_turn_of_the_vcpu_goes_there() {
    let (mut machine, guest) = fired(true);
    turn_off(&guest);
    let unit = guest.domain.vcpus[0].unit;
    let hv = &machine.hv;
    hv.kick(hv.scheduler.pause(unit, xenolith_arch::now()));
    machine.settle();
    assert_eq!(machine.next(guest.cpu), Next::Idle);
    let hv = &machine.hv;
    hv.kick(hv.scheduler.resume(unit, xenolith_arch::now()));
    machine.settle();
    let cpu = machine.cpu_of(&guest.domain, 0).expect("it runs again");
    sim::on_cpu(CpuId(cpu));
    assert_eq!(sim::guest::take(), None);
    assert!(!sim::gic::line(TIMER).active);
}

#[test]
fn a_vcpu_whose_timer_is_off_again_sleeps() {
    let (mut machine, guest) = fired(true);
    turn_off(&guest);
    assert_eq!(machine.wait(guest.cpu), Next::Idle);
    assert!(!is_active(&guest));
}

#[test]
fn a_deadline_that_is_moved_takes_it_back() {
    let (mut machine, guest) = fired(true);
    sim::on_cpu(CpuId(guest.cpu));
    sim::guest::change_registers(|registers| registers.timer_compare += 1_000_000);
    assert_eq!(machine.wait(guest.cpu), Next::Idle);
    sim::advance(1_000_000);
    machine.settle();
    assert_eq!(machine.next(guest.cpu), Next::Guest);
    assert_eq!(take(&guest), Some(TIMER));
}

#[test]
fn what_the_guest_itself_has_made_pending_stays() {
    let (mut machine, guest) = fired(false);
    machine.store(guest.cpu, SET_PENDING, 4, TIMER_BIT);
    turn_off(&guest);
    assert_eq!(machine.load(guest.cpu, SET_PENDING, 4), TIMER_BIT);
    machine.store(guest.cpu, SET_ENABLE, 4, TIMER_BIT);
    machine.settle();
    assert_eq!(take(&guest), Some(TIMER));
    machine.settle();
    assert_eq!(machine.load(guest.cpu, SET_PENDING, 4), 0, "it was taken");
}

/// While the handler runs, with the line up still or down already.
#[test]
fn a_handler_finds_it_active_and_not_pending() {
    const SET_ACTIVE: u64 = REDISTRIBUTORS + 0x1_0300;
    let (mut machine, guest) = fired(true);
    sim::on_cpu(CpuId(guest.cpu));
    assert_eq!(sim::guest::acknowledge(), Some(TIMER));
    turn_off(&guest);
    assert_eq!(machine.load(guest.cpu, SET_PENDING, 4), 0);
    assert_eq!(machine.load(guest.cpu, SET_ACTIVE, 4), TIMER_BIT);
    machine.settle();
    assert!(is_active(&guest));
    sim::on_cpu(CpuId(guest.cpu));
    sim::guest::end(TIMER);
    assert_eq!(machine.load(guest.cpu, SET_ACTIVE, 4), 0);
    assert!(!is_active(&guest));
}
