//! The virtual timer's interrupt, a level: pending while the timer has fired and neither it nor its interrupt is masked.
//!
//! Interrupts are masked in PSTATE all the time. ISR_EL1 says whether one would be taken, and the interrupt controller is
//! asked by hand what a handler would ask.

use crate::cpu::{Outcome, read_register, write_register};
use crate::gic::{CPU_INTERFACE, DISTRIBUTOR, REDISTRIBUTOR, is_v3};
use crate::report::{Complaint, Report, check};
use crate::wait::{self, TIMER, write_word};

/// CNTV_CTL_EL0.
const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// Offsets of the registers of private interrupts.
const SET_ENABLE: u64 = 0x100;
const CLEAR_ENABLE: u64 = 0x180;
const SET_PENDING: u64 = 0x200;
const CLEAR_PENDING: u64 = 0x280;
const SET_ACTIVE: u64 = 0x300;

const BIT: u32 = 1 << TIMER;
/// What is acknowledged when nothing is signalled.
const SPURIOUS: u64 = 1023;

/// A time that never comes. With one to which the counter's offset cannot be added QEMU 7.2 stands still.
const NEVER: u64 = u64::MAX >> 2;

/// How often something is looked at before it is given up: each look takes at least one instruction of time.
const PATIENCE: u32 = 100_000;

/// Runs all tests of the timer's interrupt.
pub fn run(report: &mut Report) {
    wait::enable_timer_interrupt();
    report.test("the timer's interrupt comes, and goes with its cause", comes_and_goes);
    report.test("the timer's interrupt comes again while its cause is there", comes_again);
    report.test("the timer's interrupt waits while it is disabled, and goes with its cause", waits_disabled);
    report.test("the timer's interrupt goes when its time is moved", is_moved);
    report.test("the timer's interrupt does not come while the timer masks it", is_masked);
    report.test("the timer's interrupt comes for the far past and not for the far future", far_times);
    report.test("the timer's interrupt stays pending when the kernel has made it so", is_made_pending);
    write_register!("cntv_ctl_el0", 0);
}

/// The address of a register of private interrupts.
fn register(offset: u64) -> u64 {
    const SGI_FRAME: u64 = 0x1_0000;
    if is_v3() { REDISTRIBUTOR + SGI_FRAME + offset } else { DISTRIBUTOR + offset }
}

fn write(offset: u64) {
    write_word(register(offset), BIT);
}

/// Whether a register has the timer's bit.
fn is_set(offset: u64) -> bool {
    // SAFETY: a register of the interrupt controller, which reading does not change.
    let word = unsafe { (register(offset) as *const u32).read_volatile() };
    word & BIT != 0
}

/// Whether an interrupt is signalled to this CPU (ISR_EL1.I).
fn is_signalled() -> bool {
    read_register!("isr_el1") & 1 << 7 != 0
}

/// Waits for what must come.
fn becomes(mut condition: impl FnMut() -> bool, what: &'static str) -> Result<(), Complaint> {
    let came = (0..PATIENCE).any(|_| condition());
    check(came, what, 0, Outcome::Value(0))
}

/// Fails unless the timer's interrupt is pending, or not, and signalled, or not.
fn is(what: &'static str, pending: bool, signalled: bool) -> Result<(), Complaint> {
    // In this order: the look at the controller brings what is signalled up to date.
    let found = (is_set(SET_PENDING), is_signalled());
    check(
        found == (pending, signalled),
        what,
        u64::from(found.0) << 4 | u64::from(found.1),
        Outcome::Value(0),
    )
}

/// Has the timer fire now.
fn fire() {
    write_register!("cntv_cval_el0", read_register!("cntvct_el0"));
    write_register!("cntv_ctl_el0", ENABLE);
}

fn turn_off() {
    write_register!("cntv_ctl_el0", 0);
}

fn acknowledge() -> u64 {
    if is_v3() {
        return read_register!("icc_iar1_el1");
    }
    // SAFETY: the interrupt acknowledge register; what it acknowledges is ended by `end`.
    let word = unsafe { ((CPU_INTERFACE + 0xc) as *const u32).read_volatile() };
    (word & 0x3ff).into()
}

fn end() {
    if is_v3() {
        write_register!("icc_eoir1_el1", u64::from(TIMER));
    } else {
        write_word(CPU_INTERFACE + 0x10, TIMER);
    }
}

/// Fails unless the interrupt can be acknowledged now.
fn take() -> Result<(), Complaint> {
    let taken = acknowledge();
    check(taken == TIMER.into(), "acknowledging", taken, Outcome::Value(0))
}

fn nothing_to_take() -> Result<(), Complaint> {
    let taken = acknowledge();
    check(taken == SPURIOUS, "acknowledging nothing", taken, Outcome::Value(0))
}

/// As Linux handles it: the timer is turned off before the interrupt is ended.
fn comes_and_goes() -> Result<(), Complaint> {
    for _ in 0..20 {
        is("before", false, false)?;
        fire();
        becomes(is_signalled, "it never came")?;
        take()?;
        check(is_set(SET_ACTIVE), "active while it is handled", 0, Outcome::Value(0))?;
        turn_off();
        is("handled, off", false, false)?;
        end();
        check(!is_set(SET_ACTIVE), "active when it is ended", 0, Outcome::Value(0))?;
        is("ended", false, false)?;
        nothing_to_take()?;
    }
    Ok(())
}

/// Ended while the timer is on still: the interrupt is pending anew, until the timer is off.
fn comes_again() -> Result<(), Complaint> {
    // The GICv2 of QEMU 7.2 looks at a level that a list register's end has made inactive only when somebody uses the machine's
    // controller, which the hypervisor does for who looks at the guest's.
    let is_back = || (is_v3() || is_set(SET_PENDING)) && is_signalled();
    fire();
    becomes(is_signalled, "it never came")?;
    for _ in 0..20 {
        take()?;
        end();
        becomes(is_back, "it did not come again")?;
    }
    turn_off();
    is("off", false, false)?;
    nothing_to_take()
}

fn waits_disabled() -> Result<(), Complaint> {
    write(CLEAR_ENABLE);
    fire();
    becomes(|| is_set(SET_PENDING), "it is never pending")?;
    is("disabled", true, false)?;
    write(SET_ENABLE);
    becomes(is_signalled, "it did not come when it was enabled")?;
    write(CLEAR_ENABLE);
    is("disabled again", true, false)?;
    turn_off();
    is("off", false, false)?;
    fire();
    becomes(|| is_set(SET_PENDING), "it is pending only once")?;
    turn_off();
    // Nobody looks before it is enabled.
    write(SET_ENABLE);
    check(!is_signalled(), "enabled when it was off", 0, Outcome::Value(0))?;
    nothing_to_take()
}

fn is_moved() -> Result<(), Complaint> {
    fire();
    becomes(is_signalled, "it never came")?;
    write_register!("cntv_cval_el0", NEVER);
    is("moved", false, false)?;
    fire();
    becomes(is_signalled, "it did not come again")?;
    // The time of this CPU is given away: whoever comes back has what is true then.
    write_register!("cntv_cval_el0", NEVER);
    let slept = wait::sleep();
    check(slept == Outcome::Value(0) && !is_signalled(), "after a sleep", 0, slept)?;
    turn_off();
    nothing_to_take()
}

fn is_masked() -> Result<(), Complaint> {
    write_register!("cntv_cval_el0", 0);
    write_register!("cntv_ctl_el0", ENABLE | IMASK);
    let control = read_register!("cntv_ctl_el0");
    check(control == ENABLE | IMASK | ISTATUS, "masked", control, Outcome::Value(0))?;
    is("masked", false, false)?;
    write_register!("cntv_ctl_el0", ENABLE);
    becomes(is_signalled, "it did not come when it was unmasked")?;
    write_register!("cntv_ctl_el0", ENABLE | IMASK);
    is("masked again", false, false)?;
    turn_off();
    nothing_to_take()
}

fn far_times() -> Result<(), Complaint> {
    write_register!("cntv_cval_el0", NEVER);
    write_register!("cntv_ctl_el0", ENABLE);
    let control = read_register!("cntv_ctl_el0");
    check(control == ENABLE, "far future", control, Outcome::Value(0))?;
    is("far future", false, false)?;
    write_register!("cntv_cval_el0", 0);
    becomes(is_signalled, "the far past never comes")?;
    turn_off();
    is("off", false, false)
}

fn is_made_pending() -> Result<(), Complaint> {
    write(SET_PENDING);
    becomes(is_signalled, "it never came")?;
    turn_off();
    is("made pending", true, true)?;
    write(CLEAR_PENDING);
    is("taken back", false, false)?;
    write(SET_PENDING);
    becomes(is_signalled, "it did not come again")?;
    take()?;
    end();
    is("taken", false, false)?;
    // With its cause there, taking it back does not help.
    fire();
    becomes(is_signalled, "it did not come for the timer")?;
    write(CLEAR_PENDING);
    becomes(is_signalled, "its cause is there still")?;
    turn_off();
    is("off", false, false)
}
