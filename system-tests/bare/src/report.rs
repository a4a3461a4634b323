//! What the tests found, one line each.

use core::fmt;

use crate::console::print_line;
use crate::cpu::Outcome;

/// A test's complaint: what was done, with which number, and what came of it.
pub struct Complaint {
    /// What was done.
    pub what: &'static str,
    /// To what: an encoding, an address, a call's number.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:#x}: {:x?}", self.what, self.number, self.outcome)
    }
}

/// Fails unless `fine`.
pub fn check(fine: bool, what: &'static str, number: u64, outcome: Outcome) -> Result<(), Complaint> {
    if fine { Ok(()) } else { Err(Complaint { what, number, outcome }) }
}

/// Counts tests and prints how each went.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Runs one test and prints its line.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Result<(), Complaint>) {
        match test() {
            Ok(()) => {
                self.passed += 1;
                print_line!("ok {name}");
            }
            Err(complaint) => {
                self.failed += 1;
                print_line!("FAILED {name}: {complaint}");
            }
        }
    }

    /// Prints the sum, of the tests of `what`.
    pub fn finish(self, what: &str) {
        print_line!("{what}: {} passed, {} failed", self.passed, self.failed);
    }
}
