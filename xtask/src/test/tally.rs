//! The sum of all suites' results, read from what they print.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use testbed::process::line_of;

/// Tests counted so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Runs a suite, passes its output on, and adds the tests of each `test result:` line.
    ///
    /// A suite that fails without a failed test, because it does not compile, say, counts as one failure.
    pub fn run(&mut self, mut command: Command) -> Result<()> {
        let line = line_of(&command);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| line.clone())?;
        let output = child.stdout.take().context("the suite has no output")?;
        let failed_before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if let Some((passed, failed)) = parse_result(&line) {
                self.passed += passed;
                self.failed += failed;
            }
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            println!("{line} ended with {status}");
            self.failed += 1;
        }
        Ok(())
    }

    /// Adds one test by its outcome, and prints the reason of a failure.
    pub fn count(&mut self, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{error:#}");
                self.failed += 1;
            }
        }
    }

    /// Whether any test failed.
    pub fn any_failed(&self) -> bool {
        self.failed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Passed and failed in a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
fn parse_result(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn results_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.5s";
        assert_eq!(parse_result(line), Some((12, 3)));
        assert_eq!(parse_result("test a ... ok"), None);
        assert_eq!(parse_result("test result: strange"), None);
    }

    #[test]
    fn suites_add_up() {
        let mut tally = Tally::default();
        tally.run(shell("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'")).unwrap();
        tally.run(shell("echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 1")).unwrap();
        tally.count(Ok(()));
        assert_eq!(tally.to_string(), "4 passed, 1 failed");
    }

    #[test]
    fn a_suite_that_dies_is_a_failure() {
        let mut tally = Tally::default();
        tally.run(shell("exit 101")).unwrap();
        assert!(tally.any_failed());
    }
}
