//! Calls to what is above: hypercalls, PSCI and other SMCCC services, by every instruction and immediate.

use crate::cpu::{Outcome, hvc, read_register, smc};
use crate::report::{Complaint, Report, check};

/// The hypercall that writes to the console.
pub const CONSOLE_IO: u64 = 18;

const XEN: u16 = 0xea1;
const NOT_SUPPORTED: u64 = -1_i64 as u64;
const INVALID_PARAMETERS: u64 = -2_i64 as u64;
const ALREADY_ON: u64 = -4_i64 as u64;
const ENOSYS: u64 = -38_i64 as u64;
const EFAULT: u64 = -14_i64 as u64;

const PSCI_VERSION: u64 = 0x8400_0000;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;
const PSCI_FEATURES: u64 = 0x8400_000a;

/// SMCCC functions that no hypervisor here has, one of each owner and calling convention.
const UNKNOWN_FUNCTIONS: [u64; 14] = [
    0x0000_0000,
    0x7fff_ffff,
    0x8000_4242,
    0x8100_0000,
    0x8200_0000,
    0x8300_0000,
    0x8400_0050,
    0x8400_ffff,
    0x8500_4242,
    0x8600_4242,
    0xb200_0000,
    0xbf00_4242,
    0xc400_4242,
    0xffff_ffff,
];

/// Hypercall numbers that Xen leaves empty on Arm.
const ABSENT: [u64; 12] = [0, 1, 5, 8, 15, 22, 43, 63, 64, 0x1_0000, 1 << 32, u64::MAX];

/// Those that exist, except sched_op, whose first sub-operations are no errors.
const PRESENT: [u64; 12] = [7, 12, 13, 17, 18, 20, 24, 32, 33, 34, 35, 36];

/// Makes a hypercall; returns x0.
pub fn hypercall(number: u64, arguments: [u64; 4]) -> Outcome {
    hvc::<XEN>(number, arguments)
}

/// Whether this is the first domain: what the features that xen_version tells say (`XENFEAT_dom0`).
pub fn is_first_domain() -> bool {
    const XEN_VERSION: u64 = 17;
    const GET_FEATURES: u64 = 6;
    const DOM0: u32 = 1 << 11;
    let mut answer = [0_u32; 2];
    hypercall(XEN_VERSION, [GET_FEATURES, &raw mut answer as u64, 0, 0]);
    // SAFETY: the array is ours; the hypervisor has written it behind the compiler.
    let [_, features] = unsafe { (&raw const answer).read_volatile() };
    features & DOM0 != 0
}

/// Ends the machine, or the domain.
pub fn power_off() -> ! {
    loop {
        hvc::<0>(0, [SYSTEM_OFF, 0, 0, 0]);
    }
}

/// Runs all tests of calls.
pub fn run(report: &mut Report) {
    report.test("HVC with an immediate that means nothing is undefined", immediates_of_hvc);
    report.test("SMC with an immediate that means nothing is undefined", immediates_of_smc);
    report.test("hypercalls that do not exist", absent);
    report.test("hypercalls with rubbish for arguments", rubbish);
    report.test("console_io from nowhere", console_from_nowhere);
    report.test("SMCCC functions that do not exist", unknown_functions);
    report.test("PSCI with bad arguments", psci);
}

fn undefined(what: &'static str, number: u16, outcome: Outcome) -> Result<(), Complaint> {
    check(outcome.is_undefined(), what, number.into(), outcome)
}

fn immediates_of_hvc() -> Result<(), Complaint> {
    undefined("hvc", 1, hvc::<1>(17, [PSCI_VERSION; 4]))?;
    undefined("hvc", 0xea0, hvc::<0xea0>(17, [PSCI_VERSION; 4]))?;
    undefined("hvc", 0xea2, hvc::<0xea2>(17, [PSCI_VERSION; 4]))?;
    undefined("hvc", 0x4b00, hvc::<0x4b00>(17, [PSCI_VERSION; 4]))?;
    undefined("hvc", 0xffff, hvc::<0xffff>(17, [PSCI_VERSION; 4]))
}

fn immediates_of_smc() -> Result<(), Complaint> {
    undefined("smc", 1, smc::<1>([PSCI_VERSION; 4]))?;
    undefined("smc", XEN, smc::<XEN>([PSCI_VERSION; 4]))?;
    undefined("smc", 0xffff, smc::<0xffff>([PSCI_VERSION; 4]))
}

fn absent() -> Result<(), Complaint> {
    for number in ABSENT {
        let outcome = hypercall(number, [u64::MAX; 4]);
        check(outcome == Outcome::Value(ENOSYS), "hypercall", number, outcome)?;
    }
    Ok(())
}

fn rubbish() -> Result<(), Complaint> {
    const LARGEST_ERRNO: i64 = 4095;
    // memory_op may answer by the number of extents that are done: those that its command word says were done.
    const MEMORY_OP: u64 = 12;
    const COMMAND_BITS: u32 = 6;
    for number in PRESENT {
        for argument in [u64::MAX, 0x8000_0000_8000_0008, 0x7fff_ffff_ffff_fff8, 0xdead_beef_dead_beef] {
            let outcome = hypercall(number, [argument; 4]);
            let refused = matches!(outcome, Outcome::Value(value)
                if (-LARGEST_ERRNO..0).contains(&value.cast_signed())
                    || number == MEMORY_OP && value == argument >> COMMAND_BITS);
            check(refused, "hypercall", number, outcome)?;
        }
    }
    Ok(())
}

fn console_from_nowhere() -> Result<(), Complaint> {
    for address in [0x0b00_0000, 1 << 44, u64::MAX - 7, 0xffff_0000_0000_0000] {
        let outcome = hypercall(CONSOLE_IO, [0, 16, address, 0]);
        check(outcome == Outcome::Value(EFAULT), "console_io from", address, outcome)?;
    }
    Ok(())
}

fn unknown_functions() -> Result<(), Complaint> {
    for function in UNKNOWN_FUNCTIONS {
        for outcome in [hvc::<0>(0, [function, 1, 2, 3]), smc::<0>([function, 1, 2, 3])] {
            check(outcome == Outcome::Value(NOT_SUPPORTED), "function", function, outcome)?;
        }
    }
    Ok(())
}

fn psci() -> Result<(), Complaint> {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    const MAJOR_1: u64 = 1;
    let version = hvc::<0>(0, [PSCI_VERSION, 0, 0, 0]);
    check(matches!(version, Outcome::Value(value) if value >> 16 == MAJOR_1), "version", 0, version)?;
    check(smc::<0>([PSCI_VERSION, 0, 0, 0]) == version, "version by SMC", 0, version)?;

    let own = read_register!("mpidr_el1") & AFFINITY;
    let entry = 0x4000_0000;
    let expected = [
        ("CPU_ON of nobody", [CPU_ON, 0xdead_beef, entry, 0], INVALID_PARAMETERS),
        ("CPU_ON of all ones", [CPU_ON, u64::MAX, entry, 0], INVALID_PARAMETERS),
        ("CPU_ON of myself", [CPU_ON, own, entry, 0], ALREADY_ON),
        ("AFFINITY_INFO of a bad level", [AFFINITY_INFO, own, 7, 0], INVALID_PARAMETERS),
        ("AFFINITY_INFO of myself", [AFFINITY_INFO, own, 0, 0], 0),
        ("FEATURES of nothing", [PSCI_FEATURES, 0x8400_4242, 0, 0], NOT_SUPPORTED),
        ("FEATURES of CPU_ON", [PSCI_FEATURES, CPU_ON, 0, 0], 0),
    ];
    for (what, arguments, value) in expected {
        let outcome = hvc::<0>(0, arguments);
        // A result may be 32 or 64 bits wide.
        let same = matches!(outcome, Outcome::Value(found) if found as u32 == value as u32);
        check(same, what, arguments[1], outcome)?;
    }
    Ok(())
}
