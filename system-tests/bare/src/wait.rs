//! Waiting for an interrupt and for an event: both must end.

use crate::calls::hypercall;
use crate::cpu::{Outcome, execute, read_register, write_register};
use crate::gic::{CPU_INTERFACE, DISTRIBUTOR, REDISTRIBUTOR, is_v3};
use crate::report::{Complaint, Report, check};

const WFE: u32 = 0xd503_205f;
const WFI: u32 = 0xd503_207f;
/// The virtual timer's interrupt.
pub const TIMER: u32 = 27;

/// Runs all tests of waiting.
pub fn run(report: &mut Report) {
    report.test("waiting for an event ends", || many(WFE));
    report.test("waiting for an interrupt ends when the timer fires, though interrupts are masked", timer);
}

fn many(word: u32) -> Result<(), Complaint> {
    for _ in 0..100 {
        // SAFETY: only waits.
        let outcome = unsafe { execute(word, 0) };
        check(matches!(outcome, Outcome::Value(_)), "word", word.into(), outcome)?;
    }
    Ok(())
}

/// Writes a register of the interrupt controller.
pub fn write_word(address: u64, value: u32) {
    // SAFETY: a register of the interrupt controller; interrupts are masked.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// Lets the timer's interrupt through to this CPU.
pub fn enable_timer_interrupt() {
    const LOWEST_PRIORITY: u32 = 0xff;
    const ENABLE_GROUPS: u32 = 0b11;
    write_word(DISTRIBUTOR, ENABLE_GROUPS);
    if is_v3() {
        const SGI_FRAME: u64 = 0x1_0000;
        write_word(REDISTRIBUTOR + SGI_FRAME + 0x80, u32::MAX);
        write_word(REDISTRIBUTOR + SGI_FRAME + 0x100, 1 << TIMER);
        write_register!("icc_sre_el1", read_register!("icc_sre_el1") | 1);
        write_register!("icc_pmr_el1", u64::from(LOWEST_PRIORITY));
        write_register!("icc_igrpen1_el1", 1);
    } else {
        write_word(DISTRIBUTOR + 0x100, 1 << TIMER);
        write_word(CPU_INTERFACE + 4, LOWEST_PRIORITY);
        write_word(CPU_INTERFACE, 1);
    }
}

/// The structure of a poll: pointer to ports, their count, until when (nanoseconds).
#[repr(C)]
struct Poll {
    ports: u64,
    count: u32,
    until: u64,
}

/// Gives the CPU away for a millisecond. No interrupt may wait.
pub fn sleep() -> Outcome {
    const SCHED_OP: u64 = 29;
    const POLL: u64 = 3;
    const SECOND: u64 = 1_000_000_000;
    let now = read_register!("cntvct_el0").saturating_mul(SECOND) / read_register!("cntfrq_el0");
    let poll = Poll { ports: 0, count: 0, until: now + SECOND / 1000 };
    hypercall(SCHED_OP, [POLL, &raw const poll as u64, 0, 0])
}

fn timer() -> Result<(), Complaint> {
    const ENABLED: u64 = 1;
    const FIRED: u64 = 4;
    enable_timer_interrupt();
    for _ in 0..20 {
        write_register!("cntv_tval_el0", read_register!("cntfrq_el0") / 1000);
        write_register!("cntv_ctl_el0", ENABLED);
        let mut wakes = 0;
        while read_register!("cntv_ctl_el0") & FIRED == 0 {
            // SAFETY: only waits.
            let outcome = unsafe { execute(WFI, 0) };
            check(matches!(outcome, Outcome::Value(_)), "wfi", 0, outcome)?;
            wakes += 1;
        }
        // A wait may end early, but one that never waits is no wait. Emulation is slow enough for this bound.
        check(wakes < 100_000, "wakes before the timer", wakes, Outcome::Value(wakes))?;
    }
    write_register!("cntv_ctl_el0", 0);
    Ok(())
}
