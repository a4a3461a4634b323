//! System errors, of which the hypervisor makes one pending before this kernel starts, if it is asked to
//! (`test=system-error`).

use core::arch::asm;

use crate::cpu::{Outcome, execute, outcome, read_register};
use crate::entry::noted;
use crate::report::{Complaint, Report, check};
use crate::wait;

/// ESR_EL1 of the one that the hypervisor makes, and its exception class.
const SYNDROME: u64 = 0xbe00_0011;
const CLASS_SHIFT: u64 = 26;
/// The vector of a system error from the level and stack that this kernel runs on.
const VECTOR: u64 = 7;

/// Runs all tests of system errors.
pub fn run(report: &mut Report) {
    if is_pending() {
        report.test("a system error waits as long as it is masked", waits);
        report.test("a system error comes when it is unmasked", comes);
    }
    report.test("no system error comes without a reason", || {
        let outcome = unmask();
        check(matches!(outcome, Outcome::Value(_)) && !is_pending(), "unmasking", 0, outcome)
    });
}

/// ISR_EL1.A.
fn is_pending() -> bool {
    read_register!("isr_el1") & 1 << 8 != 0
}

/// Lets system errors come for a moment.
fn unmask() -> Outcome {
    outcome(|| {
        // SAFETY: the vectors note an error, and go on behind one of these, which are nothing to miss.
        unsafe { asm!("msr daifclr, #4", "isb", "nop", "nop", "msr daifset, #4") };
        0
    })
}

fn waits() -> Result<(), Complaint> {
    let before = noted().count;
    for _ in 0..10 {
        // This CPU runs nothing meanwhile.
        let begun = read_register!("cntvct_el0");
        let outcome = wait::sleep();
        let slept = read_register!("cntvct_el0") - begun;
        check(
            slept >= read_register!("cntfrq_el0") / 1000 && outcome == Outcome::Value(0),
            "sleeping",
            slept,
            outcome,
        )?;
        check(noted().count == before && is_pending(), "exceptions", noted().count, Outcome::Value(before))?;
    }
    Ok(())
}

fn comes() -> Result<(), Complaint> {
    const MRS_X0_DISR: u32 = 0xd538_c120;
    // SAFETY: reads a register that exists with the RAS extension. Without it the syndrome is the hardware's choice.
    let has_syndrome = matches!(unsafe { execute(MRS_X0_DISR, 0) }, Outcome::Value(_));
    let outcome = unmask();
    let wanted = if has_syndrome { SYNDROME } else { SYNDROME >> CLASS_SHIFT };
    let fine = matches!(outcome, Outcome::Exception { vector: VECTOR, syndrome, .. }
        if wanted == if has_syndrome { syndrome } else { syndrome >> CLASS_SHIFT });
    check(fine, "unmasking", wanted, outcome)
}
