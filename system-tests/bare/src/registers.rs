//! Every system register that could be: read, and written back.

use crate::console::print_line;
use crate::cpu::{Outcome, execute};
use crate::report::{Complaint, Report, check};

const MRS: u32 = 0xd530_0000;
const MSR: u32 = 0xd510_0000;

/// All of op0 (2 or 3), op1, CRn, CRm and op2.
const ENCODINGS: u32 = 1 << 15;

/// Runs all tests of system registers.
pub fn run(report: &mut Report) {
    report.test("reading every system register", read_all);
    report.test("writing every system register", write_all);
    report.test("identification registers hide what is not there", identification);
    report.test("what belongs to the machine is out of reach", out_of_reach);
    report.test("EL1 is the highest level if and only if it may do what only that may", highest_level);
}

fn word(base: u32, encoding: u32) -> u32 {
    base | encoding << 5
}

/// The register as assemblers write it.
struct Name(u32);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(e) = *self;
        write!(f, "s{}_{}_c{}_c{}_{}", 2 + (e >> 14), e >> 11 & 7, e >> 7 & 15, e >> 3 & 15, e & 7)
    }
}

fn read(encoding: u32) -> Outcome {
    // SAFETY: reads into x0. Registers whose reading has an effect are those of interrupts, which are masked.
    unsafe { execute(word(MRS, encoding), 0) }
}

/// Whether the register is there, or undefined, or, for some that identify features, trapped (FEAT_IDST).
fn is_answer(outcome: Outcome) -> bool {
    const SYSTEM_REGISTER_TRAP: u64 = 0x18;
    match outcome {
        Outcome::Value(_) => true,
        Outcome::Exception { syndrome, .. } => {
            outcome.is_undefined() || syndrome >> 26 == SYSTEM_REGISTER_TRAP
        }
    }
}

/// Each reads, or is undefined. Prints which ones read.
fn read_all() -> Result<(), Complaint> {
    let mut readable = 0;
    for encoding in 0..ENCODINGS {
        let outcome = read(encoding);
        if let Outcome::Value(value) = outcome {
            readable += 1;
            print_line!("register {} {value:x}", Name(encoding));
        }
        check(is_answer(outcome), "register", encoding.into(), outcome)?;
    }
    print_line!("{readable} registers read");
    Ok(())
}

/// Each takes what was read from it, or, where it cannot be read, zero; or is undefined. Prints which ones can only be
/// written.
fn write_all() -> Result<(), Complaint> {
    for encoding in 0..ENCODINGS {
        let before = read(encoding);
        let value = if let Outcome::Value(value) = before { value } else { 0 };
        // SAFETY: a register keeps its value. Those that are write-only start something for interrupts, debug or
        // trace, for which zero means nothing.
        let outcome = unsafe { execute(word(MSR, encoding), value) };
        if matches!((before, outcome), (Outcome::Exception { .. }, Outcome::Value(_))) {
            print_line!("write-only {}", Name(encoding));
        }
        check(is_answer(outcome), "register", encoding.into(), outcome)?;
    }
    Ok(())
}

/// A field of an identification register that must read as absent.
struct Hidden {
    what: &'static str,
    encoding: u32,
    shift: u32,
}

const fn id(crm: u32, op2: u32) -> u32 {
    1 << 14 | crm << 3 | op2
}

const HIDDEN: [Hidden; 6] = [
    Hidden { what: "SVE in ID_AA64PFR0_EL1", encoding: id(4, 0), shift: 32 },
    Hidden { what: "MPAM in ID_AA64PFR0_EL1", encoding: id(4, 0), shift: 40 },
    Hidden { what: "AMU in ID_AA64PFR0_EL1", encoding: id(4, 0), shift: 44 },
    Hidden { what: "MTE in ID_AA64PFR1_EL1", encoding: id(4, 1), shift: 8 },
    Hidden { what: "SME in ID_AA64PFR1_EL1", encoding: id(4, 1), shift: 24 },
    Hidden { what: "SPE in ID_AA64DFR0_EL1", encoding: id(5, 0), shift: 32 },
];

fn identification() -> Result<(), Complaint> {
    for Hidden { what, encoding, shift } in HIDDEN {
        let outcome = read(encoding);
        let absent = matches!(outcome, Outcome::Value(value) if value >> shift & 0xf == 0);
        check(absent, what, encoding.into(), outcome)?;
    }
    // Every encoding of the identification space that has no meaning reads as zero (Arm ARM D17.1.3).
    for encoding in (1..8).flat_map(|crm| (0..8).map(move |op2| id(crm, op2))) {
        let outcome = read(encoding);
        check(matches!(outcome, Outcome::Value(_)), "identification register", encoding.into(), outcome)?;
    }
    Ok(())
}

/// State of the CPU that is no vCPU's, on CPUs that have it: error records (ERRIDR_EL1 to ERXMISC3_EL1), limited-ordering regions
/// (LORSA_EL1 to LORC_EL1, LORID_EL1), and the controls of trace and of profiling.
fn out_of_reach() -> Result<(), Complaint> {
    let el1 = |crn: u32, crm: u32, op2: u32| 1 << 14 | crn << 7 | crm << 3 | op2;
    let errors = (3..6).flat_map(|crm| (0..8).map(move |op2| (5, crm, op2)));
    let regions = [0, 1, 2, 3, 7].map(|op2| (10, 4, op2));
    let controls = [(1, 2, 1), (9, 9, 0)];
    for (crn, crm, op2) in errors.chain(regions).chain(controls) {
        let encoding = el1(crn, crm, op2);
        let read = read(encoding);
        check(read.is_undefined(), "reading register", encoding.into(), read)?;
        // SAFETY: it is not there.
        let written = unsafe { execute(word(MSR, encoding), 0) };
        check(written.is_undefined(), "writing register", encoding.into(), written)?;
    }
    Ok(())
}

/// CNTFRQ_EL0 can be written at the highest level that is implemented, and at no other (Arm ARM D24.10.1).
fn highest_level() -> Result<(), Complaint> {
    const CNTFRQ_EL0: u32 = 1 << 14 | 3 << 11 | 14 << 7;
    const EL2_AND_EL3: u64 = 0xff00;
    let (levels, frequency) = (read(id(4, 0)), read(CNTFRQ_EL0));
    let is_highest = matches!(levels, Outcome::Value(value) if value & EL2_AND_EL3 == 0);
    let Outcome::Value(frequency) = frequency else {
        return check(false, "reading CNTFRQ_EL0, register", CNTFRQ_EL0.into(), frequency);
    };
    // SAFETY: writes what was read.
    let written = unsafe { execute(word(MSR, CNTFRQ_EL0), frequency) };
    check(
        written.is_undefined() != is_highest,
        "writing CNTFRQ_EL0, ID_AA64PFR0_EL1 being as it is, register",
        CNTFRQ_EL0.into(),
        written,
    )
}
