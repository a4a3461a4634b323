//! Accesses to a device that a device model in another domain serves (`guest-tests echo-model`), by every kind of
//! instruction.
//!
//! The device is a stretch of memory, and a page that tells which access the device saw last. So a load shows what comes
//! into a register, a store what goes out of it, and both how the hypervisor put the access to the device model.

mod cases;

use crate::cpu::{Outcome, execute_with};
use crate::report::{Complaint, Report, check};

use cases::{CACHE, Case, EXCLUSIVE_STORES, LOADS, PATTERN, REFUSED, STORED, STORES, X1, X2};

/// The device's memory. It ends [`END`] bytes on, in the middle of a doubleword.
const MEMORY: u64 = 0x0a00_0000;
const END: u64 = 0xfe4;
/// The device's page of facts about the last access to its memory: address, size and direction, count of all.
const FACTS: u64 = 0x0a00_1000;
/// Reads as zero until the test is over. Writes are counted by nobody.
const OVER: u64 = 0x0a00_1100;
/// Where the accesses go: 16 bytes with room around them.
const DATA: u64 = MEMORY + 0x100;
/// Where no device is.
const NOWHERE: u64 = 0x0b00_0000;

const LDR_W1: u32 = 0xb940_0001;
const LDR_X1: u32 = 0xf940_0001;
const STR_W1: u32 = 0xb900_0001;
const STR_X1: u32 = 0xf900_0001;
const LDRB_W1: u32 = 0x3940_0001;
const LDRH_W1: u32 = 0x7940_0001;
const LDRSB_X1: u32 = 0x3980_0001;
const LDRSW_X1: u32 = 0xb980_0001;
const LDP_X1_X2: u32 = 0xa940_0801;
const STP_X1_X2: u32 = 0xa900_0801;

/// Runs all tests of forwarded accesses.
pub fn run(report: &mut Report) {
    report.test("loads of every form bring what the device says", loads);
    report.test("stores of every form bring the device what they should", stores);
    report.test("forms that cannot be decoded abort", refused);
    report.test("cache maintenance over a device does nothing", cache);
    report.test("an access across a range's end reads all ones and writes nothing", across_the_end);
    report.test("where no device is, loads read all ones and stores go nowhere", nowhere);
    report.test("whatever the device model does, accesses end", until_it_is_over);
}

/// Runs an instruction on the device's memory with x0 = `x0`.
fn execute(word: u32, x0: u64, on_stack: bool) -> (Outcome, [u64; 3]) {
    // SAFETY: the tables and constants of this file hold loads, stores and cache maintenance around x0, which is never
    // an address of this kernel's memory; those on the stack pointer are known to be answered.
    unsafe { execute_with(word, [x0, X1, X2], on_stack) }
}

/// Loads from the device with the simplest instruction.
fn load(address: u64) -> Result<u64, Complaint> {
    let (outcome, [_, value, _]) = execute(LDR_X1, address, false);
    check(matches!(outcome, Outcome::Value(_)), "ldr x1 at", address, outcome)?;
    Ok(value)
}

/// Stores to the device with the simplest instruction.
fn store(address: u64, value: u64) -> Result<(), Complaint> {
    // SAFETY: stores x1 at x0, which is the device's.
    let (outcome, _) = unsafe { execute_with(STR_X1, [address, value, 0], false) };
    check(matches!(outcome, Outcome::Value(_)), "str x1 at", address, outcome)
}

/// What the device saw: address, size and direction of the last access, and how many there were.
fn facts() -> Result<[u64; 3], Complaint> {
    Ok([load(FACTS)?, load(FACTS + 8)?, load(FACTS + 16)?])
}

fn equal(what: &'static str, found: u64, wanted: u64) -> Result<(), Complaint> {
    check(found == wanted, what, wanted, Outcome::Value(found))
}

/// Runs a case, and checks registers and what the device saw.
fn run_case(case: &Case, write: bool) -> Result<(), Complaint> {
    let before = facts()?;
    let (outcome, [x0, x1, x2]) = execute(case.word, DATA.wrapping_add_signed(case.start), case.on_stack);
    check(matches!(outcome, Outcome::Value(_)), case.name, DATA, outcome)?;
    equal(case.name, x0, DATA.wrapping_add_signed(case.end))?;
    equal(case.name, x1, case.x1)?;
    equal(case.name, x2, case.x2)?;
    let [address, kind, count] = facts()?;
    equal(case.name, count.wrapping_sub(before[2]), case.accesses)?;
    let size = u64::from(case.size);
    equal(case.name, address, DATA + size * (case.accesses - 1))?;
    equal(case.name, kind, size | u64::from(write) << 8)
}

fn loads() -> Result<(), Complaint> {
    for (index, &word) in (0..).zip(&PATTERN) {
        store(DATA + 8 * index, word)?;
    }
    LOADS.iter().try_for_each(|case| run_case(case, false))
}

fn stores() -> Result<(), Complaint> {
    const BLANK: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    for (case, stored) in STORES.iter().zip(&STORED) {
        for place in [DATA - 8, DATA, DATA + 8, DATA + 16] {
            store(place, BLANK)?;
        }
        run_case(case, true)?;
        equal(case.name, load(DATA)?, stored[0])?;
        equal(case.name, load(DATA + 8)?, stored[1])?;
        equal(case.name, load(DATA - 8)?, BLANK)?;
        equal(case.name, load(DATA + 16)?, BLANK)?;
    }
    Ok(())
}

fn refused() -> Result<(), Complaint> {
    let before = facts()?;
    for (name, word) in REFUSED {
        let (outcome, registers) = execute(word, DATA, false);
        check(outcome.is_data_abort(DATA), name, DATA, outcome)?;
        equal(name, registers[0], DATA)?;
    }
    for (name, word) in EXCLUSIVE_STORES {
        let (outcome, registers) = execute(word, DATA, false);
        let failed = matches!(outcome, Outcome::Value(_)) && registers[2] == 1;
        check(failed || outcome.is_data_abort(DATA), name, DATA, outcome)?;
        equal(name, registers[0], DATA)?;
    }
    equal("accesses of refused forms", facts()?[2], before[2])
}

fn cache() -> Result<(), Complaint> {
    let before = facts()?;
    for (name, word) in CACHE {
        let (outcome, _) = execute(word, DATA, false);
        check(matches!(outcome, Outcome::Value(_)), name, DATA, outcome)?;
    }
    equal("accesses of cache maintenance", facts()?[2], before[2])
}

fn across_the_end() -> Result<(), Complaint> {
    let last = MEMORY + END - 4;
    store(last - 8, PATTERN[0])?;
    let (outcome, _) = execute(STR_W1, last, false);
    check(matches!(outcome, Outcome::Value(_)), "str w1 at", last, outcome)?;
    let before = facts()?;
    let (outcome, _) = execute(STR_X1, last, false);
    check(matches!(outcome, Outcome::Value(_)), "str x1 at", last, outcome)?;
    equal("ldr x1 across the end", load(last)?, u64::MAX)?;
    equal("accesses across the end", facts()?[2], before[2])?;
    let (outcome, [_, x1, x2]) = execute(LDP_X1_X2, last - 8, false);
    check(matches!(outcome, Outcome::Value(_)), "ldp x1, x2 at", last - 8, outcome)?;
    equal("the first of a pair across the end", x1, PATTERN[0])?;
    equal("the second of a pair across the end", x2, u64::MAX)?;
    let (outcome, _) = execute(STP_X1_X2, last - 8, false);
    check(matches!(outcome, Outcome::Value(_)), "stp x1, x2 at", last - 8, outcome)?;
    equal("the first of a stored pair", load(last - 8)?, X1)?;
    // The word before the end is still the one that was stored alone.
    let (_, [_, x1, _]) = execute(LDR_W1, last, false);
    equal("ldr w1 at the end", x1, X1 & 0xffff_ffff)
}

fn nowhere() -> Result<(), Complaint> {
    let widths = [
        (LDRB_W1, 0xff),
        (LDRH_W1, 0xffff),
        (LDR_W1, 0xffff_ffff),
        (LDR_X1, u64::MAX),
        (LDRSB_X1, u64::MAX),
        (LDRSW_X1, u64::MAX),
        (LDP_X1_X2, u64::MAX),
        (STR_W1, X1),
        (STP_X1_X2, X1),
    ];
    for place in [NOWHERE, MEMORY + 0x800 + 0x1000, 0x3f_0000_0000] {
        for (word, wanted) in widths {
            let (outcome, [_, x1, _]) = execute(word, place, false);
            check(matches!(outcome, Outcome::Value(_)), "access at", place, outcome)?;
            equal("access nowhere", x1, wanted)?;
        }
    }
    Ok(())
}

/// Reads and writes until the device says that it is enough. Between, there may be no device, or one that answers
/// anything.
fn until_it_is_over() -> Result<(), Complaint> {
    const ENOUGH: u64 = 0x600d_600d_600d_600d;
    crate::console::print_line!("forwarded: waits for the end");
    let mut number: u64 = 0;
    loop {
        number = number.wrapping_add(1);
        for word in [STR_X1, LDP_X1_X2, STP_X1_X2, LDRB_W1] {
            let (outcome, _) = execute(word, DATA, false);
            check(matches!(outcome, Outcome::Value(_)), "access of round", number, outcome)?;
        }
        if load(OVER)? == ENOUGH {
            return Ok(());
        }
    }
}
