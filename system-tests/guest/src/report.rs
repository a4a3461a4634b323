//! What the tests found, one line each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// Counts tests and prints how each went.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Runs one test and prints its line.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        match test() {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name} ({:.1} s)", start.elapsed().as_secs_f32());
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {name}: {error:#}");
            }
        }
    }

    /// Prints the sum. The program failed if a test did, or if there was none.
    pub fn finish(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
