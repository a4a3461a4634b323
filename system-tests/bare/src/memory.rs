//! Accesses to where nothing is, by every kind of instruction: each must end as a data abort of this kernel.

use core::arch::asm;

use crate::calls::hypercall;
use crate::cpu::{Outcome, execute, outcome};
use crate::report::{Complaint, Report, check};
use crate::scratch::Scratch;

/// Intermediate physical addresses that belong to nobody: between devices, beyond all RAM, beyond the address size.
const NOWHERE: [u64; 5] = [0x0b00_0000, 0x0e00_0000, 0x30_0000_0000, 1 << 43, 1 << 47];

/// Loads and stores of x1 (or the pair x1, x2) at the address in x0, of all kinds.
const ACCESSES: [(&str, u32); 27] = [
    ("ldrb w1, [x0]", 0x3940_0001),
    ("ldrh w1, [x0]", 0x7940_0001),
    ("ldr w1, [x0]", 0xb940_0001),
    ("ldr x1, [x0]", 0xf940_0001),
    ("ldrsb x1, [x0]", 0x3980_0001),
    ("ldrsw x1, [x0]", 0xb980_0001),
    ("ldr x1, [x0], #8", 0xf840_8401),
    ("ldr x1, [x0, #8]!", 0xf840_8c01),
    ("ldur x1, [x0, #1]", 0xf840_1001),
    ("ldp x1, x2, [x0]", 0xa940_0801),
    ("ldp w1, w2, [x0], #8", 0x28c1_0801),
    ("ldar x1, [x0]", 0xc8df_fc01),
    ("ldxr x1, [x0]", 0xc85f_7c01),
    ("ldxp x1, x2, [x0]", 0xc87f_0801),
    ("strb w1, [x0]", 0x3900_0001),
    ("strh w1, [x0]", 0x7900_0001),
    ("str w1, [x0]", 0xb900_0001),
    ("str x1, [x0]", 0xf900_0001),
    ("str x1, [x0], #8", 0xf800_8401),
    ("str x1, [x0, #8]!", 0xf800_8c01),
    ("stur x1, [x0, #1]", 0xf800_1001),
    ("stp x1, x2, [x0]", 0xa900_0801),
    ("stlr x1, [x0]", 0xc89f_fc01),
    ("dc zva, x0", 0xd50b_7420),
    ("str wzr, [x0]", 0xb900_001f),
    ("ldr xzr, [x0]", 0xf940_001f),
    ("ldnp x1, x2, [x0]", 0xa840_0801),
];

/// Runs all tests of memory.
pub fn run(report: &mut Report) {
    report.test("accesses to nowhere abort", nowhere);
    report.test("instructions fetched from nowhere abort", fetch_from_nowhere);
    report.test("the hypervisor's own memory is nowhere", hypervisor_memory);
    report.test("a page that was given back is nowhere until it is taken again", given_back);
}

fn nowhere() -> Result<(), Complaint> {
    for address in NOWHERE {
        for (name, word) in ACCESSES {
            // SAFETY: a load changes x1 and x2, which a function may change; a store goes to where nothing is.
            let outcome = unsafe { execute(word, address) };
            // With the MMU off all memory is Device memory: an access that is not aligned faults even before.
            check(outcome.is_data_abort(address), name, address, outcome)?;
        }
    }
    Ok(())
}

fn fetch_from_nowhere() -> Result<(), Complaint> {
    const INSTRUCTION_ABORT: u64 = 0x21;
    for address in NOWHERE {
        let outcome = outcome(|| {
            // SAFETY: nothing is there to be executed; the vectors return to behind the call.
            unsafe { asm!("blr {address}", address = in(reg) address, clobber_abi("C")) };
            0
        });
        let aborted =
            matches!(outcome, Outcome::Exception { syndrome, .. } if syndrome >> 26 == INSTRUCTION_ABORT);
        check(aborted, "fetch from", address, outcome)?;
    }
    Ok(())
}

/// The first 2 MiB boundary of RAM, where QEMU puts the hypervisor that it boots.
fn hypervisor_memory() -> Result<(), Complaint> {
    const LDR: u32 = 0xf940_0001;
    const STR: u32 = 0xf900_0001;
    for address in [0x4020_0000, 0x4020_1000, 0x4022_0000] {
        for word in [LDR, STR] {
            // SAFETY: as above: it must not be ours, and nothing else of ours is there.
            let outcome = unsafe { execute(word, address) };
            check(outcome.is_data_abort(address), "access at", address, outcome)?;
        }
    }
    Ok(())
}

/// A page of ours to be given away.
static PAGE: Scratch = Scratch::new();

/// The structure of a reservation: pointer to frame numbers, their count, the order, the domain.
#[repr(C)]
struct Reservation {
    frames: *const u64,
    count: u64,
    order: u32,
    flags: u32,
    domain: u16,
}

fn given_back() -> Result<(), Complaint> {
    const MEMORY_OP: u64 = 12;
    const DECREASE: u64 = 1;
    const POPULATE: u64 = 6;
    const SELF: u16 = 0x7ff0;
    const LDR: u32 = 0xf940_0001;
    let address = PAGE.address();
    let frame = address >> 12;
    let reservation = Reservation { frames: &raw const frame, count: 1, order: 0, flags: 0, domain: SELF };
    let change = |operation| hypercall(MEMORY_OP, [operation, &raw const reservation as u64, 0, 0]);
    // SAFETY: reads a page of ours, which nobody else has a reference to.
    let read = || unsafe { execute(LDR, address) };

    let given = change(DECREASE);
    check(given == Outcome::Value(1), "giving back frame", frame, given)?;
    let outcome = read();
    check(outcome.is_data_abort(address), "read at", address, outcome)?;
    let taken = change(POPULATE);
    check(taken == Outcome::Value(1), "taking again frame", frame, taken)?;
    let outcome = read();
    check(matches!(outcome, Outcome::Value(_)), "read at", address, outcome)
}
