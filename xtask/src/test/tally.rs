//! The sum of all suites' results, read from what they print, and the progress that a user sees meanwhile.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testbed::process::line_of;

use super::lines::{self, Line, Outcome};

/// How many of the slowest tests are shown.
const SLOWEST: usize = 10;
/// A test that takes longer than this many seconds is told when it ends; of others, one now and then.
const LONG: f32 = 5.0;
/// The longest time without a word, as long as tests end.
const QUIET: Duration = Duration::from_secs(5);

/// Tests counted so far.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: Vec<String>,
    /// With the reasons.
    skipped: Vec<(String, String)>,
    /// Seconds that tests took.
    times: Vec<(f32, String)>,
    /// Tests that are still to run.
    left: u64,
    told: Option<Instant>,
}

impl Tally {
    /// So many more tests are to run.
    pub fn expect(&mut self, count: usize) {
        self.left += count as u64;
    }

    /// So many of them are no longer to run: they have, or what they need could not be made.
    pub fn no_longer_expect(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
    }

    /// Runs a suite whose tests are expected and whose names are to begin with `name`, passes on what it says of failures,
    /// and adds its tests.
    ///
    /// `seconds` finds the time of a test that the suite does not tell. A suite that fails without a failed test, because
    /// it dies, say, counts as one failure.
    pub fn run(&mut self, name: &str, command: Command, seconds: impl Fn(&str) -> Option<f32>) -> Result<()> {
        self.play(name, command, seconds, |_, _| ())
    }

    /// The same with a suite that says only when it begins how many tests it has.
    pub fn run_unexpected(&mut self, name: &str, command: Command) -> Result<()> {
        self.play(name, command, |_| None, Tally::expect)
    }

    fn play(
        &mut self,
        name: &str,
        mut command: Command,
        seconds: impl Fn(&str) -> Option<f32>,
        begins: impl Fn(&mut Self, usize),
    ) -> Result<()> {
        let line = line_of(&command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| line.clone())?;
        let output = child.stdout.take().context("the suite has no output")?;
        let errors = child.stderr.take().context("the suite has no error output")?;
        let errors = thread::spawn(move || pass_errors(errors));
        let failed_before = self.failed.len();
        let mut passed = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            match lines::read(&line) {
                Line::Test { name: test, outcome, seconds: told } => {
                    let full = format!("{name}::{test}");
                    let time = told.or_else(|| seconds(test));
                    self.times.extend(time.map(|time| (time, full.clone())));
                    self.no_longer_expect(1);
                    match outcome {
                        Outcome::Passed => {
                            self.passed += 1;
                            passed.push(test.to_owned());
                        }
                        Outcome::Failed => self.failed.push(full.clone()),
                        Outcome::Ignored => {
                            self.skipped.push((full.clone(), "it is marked to be ignored".into()))
                        }
                    }
                    self.tell(&full, outcome, time);
                }
                Line::Begins(count) => begins(self, count),
                Line::Known => (),
                Line::Other => println!("{line}"),
            }
        }
        let status = child.wait()?;
        let mut counted = HashSet::new();
        for (test, reason) in errors.join().unwrap_or_default() {
            if counted.insert(test.clone()) && passed.contains(&test) {
                self.passed -= 1;
                self.skipped.push((format!("{name}::{test}"), reason));
            }
        }
        if !status.success() && self.failed.len() == failed_before {
            println!("{line} ended with {status}");
            self.failed.push(name.to_owned());
        }
        Ok(())
    }

    /// Adds one test by its outcome, and prints the reason of a failure.
    pub fn count(&mut self, name: &str, took: Duration, outcome: Result<()>) {
        self.times.push((took.as_secs_f32(), name.to_owned()));
        self.no_longer_expect(1);
        let outcome = match outcome {
            Ok(()) => {
                self.passed += 1;
                Outcome::Passed
            }
            Err(error) => {
                println!("{error:#}");
                self.failed.push(name.to_owned());
                Outcome::Failed
            }
        };
        self.tell(name, outcome, Some(took.as_secs_f32()));
    }

    /// Whether any test failed.
    pub fn any_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    fn done(&self) -> u64 {
        self.passed + (self.failed.len() + self.skipped.len()) as u64
    }

    /// Says how far it is, where a test is worth it or nothing was said for long.
    fn tell(&mut self, name: &str, outcome: Outcome, seconds: Option<f32>) {
        let is_quiet = self.told.is_none_or(|told| told.elapsed() >= QUIET);
        if outcome == Outcome::Passed && seconds.unwrap_or_default() < LONG && !is_quiet {
            return;
        }
        let word = match outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Ignored => "ignored",
        };
        let time = seconds.map(|seconds| format!(" ({seconds:.1} s)")).unwrap_or_default();
        println!("{}: {word} {name}{time}", self.progress());
        self.told = Some(Instant::now());
    }

    /// How many tests have run, of how many.
    fn progress(&self) -> String {
        let (done, all) = (self.done(), self.done() + self.left);
        let width = all.to_string().len();
        format!("{done:width$} of {all}")
    }
}

/// Passes lines on to the terminal, and keeps the names and reasons of skipped tests.
fn pass_errors(errors: impl std::io::Read) -> Vec<(String, String)> {
    let mut skipped = Vec::new();
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        match lines::skipped(&line) {
            Some((name, reason)) => skipped.push((name.to_owned(), reason.to_owned())),
            None => eprintln!("{line}"),
        }
    }
    skipped
}

impl fmt::Display for Tally {
    /// The slowest tests, what was skipped and what failed, and the closing line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<&(f32, String)> = self.times.iter().collect();
        times.sort_by(|a, b| b.0.total_cmp(&a.0));
        if !times.is_empty() {
            writeln!(f, "The slowest:")?;
        }
        for (seconds, name) in times.iter().take(SLOWEST) {
            writeln!(f, "{seconds:8.1} s  {name}")?;
        }
        for (name, reason) in &self.skipped {
            writeln!(f, "skipped: {name}: {reason}")?;
        }
        for name in &self.failed {
            writeln!(f, "failed: {name}")?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failed.len())?;
        match self.skipped.len() {
            0 => writeln!(f),
            count => writeln!(f, ", {count} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run(tally: &mut Tally, name: &str, script: &str) {
        tally.run(name, shell(script), |_| None).unwrap();
    }

    fn closing_line(tally: &Tally) -> String {
        tally.to_string().lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn suites_add_up() {
        let mut tally = Tally::default();
        tally.expect(5);
        run(&mut tally, "a", "echo 'running 2 tests'; echo 'test x ... ok'; echo 'test y ... ok <1.5s>'");
        run(&mut tally, "b", "echo 'test x ... ok'; echo 'test y ... FAILED'; exit 1");
        assert_eq!(tally.left, 1);
        tally.count("fuzz::x", Duration::from_secs(20), Ok(()));
        assert_eq!(tally.left, 0);
        tally.expect(6);
        assert_eq!(tally.progress(), " 5 of 11");
        tally.no_longer_expect(6);
        tally.expect(3);
        tally.no_longer_expect(2);
        assert_eq!(tally.left, 1);
        assert_eq!(closing_line(&tally), "4 passed, 1 failed");
        let text = tally.to_string();
        assert!(text.contains("failed: b::y"), "{text}");
        let slow: Vec<&str> = text.lines().skip(1).take(2).map(|line| line.trim()).collect();
        assert_eq!(slow, ["20.0 s  fuzz::x", "1.5 s  a::y"]);
    }

    #[test]
    fn tests_that_a_suite_tells_at_its_begin_are_expected_then() {
        let mut tally = Tally::default();
        tally.expect(3);
        tally.run_unexpected("e", shell("echo 'running 2 tests'; echo 'test x ... ok'")).unwrap();
        assert_eq!(tally.progress(), "1 of 5");
    }

    #[test]
    fn a_suite_that_dies_is_a_failure() {
        let mut tally = Tally::default();
        run(&mut tally, "a", "echo 'test x ... ok'; exit 101");
        assert!(tally.any_failed());
        assert_eq!(closing_line(&tally), "1 passed, 1 failed");
    }

    #[test]
    fn a_test_that_skips_itself_is_no_test_that_passed() {
        let mut tally = Tally::default();
        let script = "echo 'skipped: t::x: no such device' >&2; echo 'skipped: t::x: again' >&2
                      echo 'skipped: t::gone: nobody' >&2; echo 'test t::x ... ok'; echo 'test t::y ... ok'";
        run(&mut tally, "a", script);
        assert!(!tally.any_failed());
        assert_eq!(closing_line(&tally), "1 passed, 0 failed, 1 skipped");
        assert!(tally.to_string().contains("skipped: a::t::x: no such device"));
    }

    #[test]
    fn times_that_a_suite_does_not_tell_are_asked_for() {
        let mut tally = Tally::default();
        tally
            .run("m", shell("echo 'test boot/x   ... ok'"), |name| (name == "boot/x").then_some(7.0))
            .unwrap();
        assert_eq!(tally.times, [(7.0, "m::boot/x".to_owned())]);
    }
}
