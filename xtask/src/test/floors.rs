//! Which tests there are on each floor, and the order in which they run: the host's, fuzz targets, machines.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use testbed::paths;
use testbed::process::open_step;
use testbed::toolchain::cargo;
use testbed::tools::Version;

use super::examples;
use super::suite::{self, Built, Suite};
use super::tally::Tally;
use crate::{build, fuzz};

/// Packages that exist without I/O forwarding too.
const WITHOUT_FORWARDING: [&str; 3] = ["xenolith-sim", "xenolith-policy", "xenolith-domain"];
/// What their suites' names end in then.
const MARK: &str = "-without-forwarding";

/// Suites that play machines. What they boot is built before.
const MACHINES: &str = "machines";
const TOOLS: &str = "tools";
/// The version of Xen's tools that a plain run plays.
const VERSION: Version = Version::V4_17;

/// What fuzz targets' names begin with.
const FUZZ: &str = "fuzz";
/// Fuzz targets that run at once: each takes a CPU.
const FUZZERS: usize = 2;

/// Which machines are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machines {
    /// None.
    None,
    /// All, with Xen's tools of one version.
    OneVersionOfTools,
    /// All, with Xen's tools of every version.
    All,
    /// Xen's tools only, of every version; nothing else is tested.
    OnlyTools,
}

/// What is to run.
#[derive(Default)]
pub struct Plan {
    suites: Vec<Suite>,
    /// Packages with examples in their documentation.
    examples: Vec<String>,
    libraries: Vec<(String, std::path::PathBuf)>,
    names: Vec<String>,
    /// Fuzz targets.
    pub fuzz: Vec<String>,
    /// Seconds for each.
    pub fuzz_seconds: u32,
}

impl Plan {
    /// Builds all tests; what does not compile is counted as a failure.
    pub fn build(tally: &mut Tally) -> Result<Plan> {
        let begun = Instant::now();
        let mut plan = Plan::default();
        let without: Vec<&str> =
            WITHOUT_FORWARDING.iter().flat_map(|package| ["--package", package]).collect();
        let builds = [
            suite::build(&["--workspace"], ""),
            suite::build(&[&["--no-default-features"], without.as_slice()].concat(), MARK),
        ];
        for built in builds {
            match built {
                Ok(Built { suites, libraries }) => {
                    plan.suites.extend(suites);
                    if plan.libraries.is_empty() {
                        plan.libraries = libraries;
                    }
                }
                Err(error) => tally.count("build", begun.elapsed(), Err(error)),
            }
        }
        Ok(plan)
    }

    /// Leaves only what is asked for.
    pub fn restrict(&mut self, machines: Machines, names: &[String]) {
        let is_named = |full: &str| names.is_empty() || names.iter().any(|name| full.contains(name.as_str()));
        let only_tools = machines == Machines::OnlyTools;
        for suite in &mut self.suites {
            match suite.name.as_str() {
                MACHINES => suite.restrict(|test| {
                    !matches!(machines, Machines::None | Machines::OnlyTools) && is_named(test)
                }),
                TOOLS => suite.restrict(|test| {
                    let is_left_out = machines == Machines::OneVersionOfTools && is_of_another_version(test);
                    machines != Machines::None && !is_left_out && is_named(test)
                }),
                _ => suite.restrict(|test| !only_tools && is_named(test)),
            }
        }
        self.suites.retain(|suite| !suite.tests.is_empty());
        self.fuzz.retain(|target| !only_tools && is_named(&format!("{FUZZ}::{target}")));
        let with_examples =
            |(_, folder): &&(String, std::path::PathBuf)| examples::any(folder, paths::workspace(), is_named);
        self.examples = match only_tools {
            true => Vec::new(),
            false => {
                self.libraries.iter().filter(with_examples).map(|(package, _)| package.clone()).collect()
            }
        };
        self.names = names.to_vec();
    }

    /// Whether nothing is to run.
    pub fn is_empty(&self) -> bool {
        self.suites.is_empty() && self.fuzz.is_empty() && self.examples.is_empty()
    }

    /// Runs it all.
    pub fn run(self, tally: &mut Tally) -> Result<()> {
        tally.expect(self.fuzz.len() + self.suites.iter().map(|suite| suite.tests.len()).sum::<usize>());
        let is_machines = |suite: &&Suite| [MACHINES, TOOLS].contains(&suite.name.as_str());
        if self.suites.iter().any(|suite| !is_machines(&suite)) {
            println!("Tests on the host");
        }
        for suite in self.suites.iter().filter(|suite| !is_machines(suite)) {
            tally.run(&suite.name, suite.command(), |_| None)?;
        }
        if !self.examples.is_empty() {
            println!("Examples in the documentation");
            tally.run_unexpected("examples", self.examples_command())?;
        }
        if !self.fuzz.is_empty() {
            println!("Fuzz targets, {} s each", self.fuzz_seconds);
            run_fuzz(tally, &self.fuzz, self.fuzz_seconds);
        }
        let machines: Vec<&Suite> = self.suites.iter().filter(is_machines).collect();
        if !machines.is_empty() {
            println!("Machines");
            let begun = Instant::now();
            if let Err(error) = build::build() {
                tally.no_longer_expect(machines.iter().map(|suite| suite.tests.len()).sum::<usize>() - 1);
                tally.count("image", begun.elapsed(), Err(error));
                return Ok(());
            }
        }
        for suite in machines {
            tally.run(&suite.name, suite.machine_command(), seconds)?;
        }
        Ok(())
    }

    fn examples_command(&self) -> Command {
        let mut command = cargo("test");
        command.args(["--doc", "--no-fail-fast"]);
        if self.names.is_empty() {
            // What the tests were built with serves here too: a choice of packages would have other features.
            command.arg("--workspace");
        } else {
            command.args(self.examples.iter().flat_map(|package| ["--package", package]));
        }
        command.arg("--").args(&self.names);
        command
    }
}

/// Whether a test is for a version of Xen's tools that a plain run leaves out.
fn is_of_another_version(test: &str) -> bool {
    let mut others = Version::ALL.into_iter().filter(|&version| version != VERSION);
    others.any(|version| test.ends_with(&format!("-{version}")))
}

/// The time that a machine's test took, which its harness leaves in its folder.
fn seconds(test: &str) -> Option<f32> {
    let folder = paths::target().join("system-tests").join(test.replace('/', "."));
    fs::read_to_string(folder.join("seconds")).ok()?.trim().parse().ok()
}

/// Builds the fuzz targets and runs some at once.
fn run_fuzz(tally: &mut Tally, targets: &[String], seconds: u32) {
    let begun = Instant::now();
    let built = match open_step("Build the fuzz targets", || fuzz::build(targets)) {
        Ok(built) => built,
        Err(error) => {
            tally.no_longer_expect(targets.len() - 1);
            return tally.count(FUZZ, begun.elapsed(), Err(error));
        }
    };
    let waiting = Mutex::new(targets.iter());
    let tally = Mutex::new(tally);
    let work = || {
        while let Some(target) = next(&waiting) {
            let begun = Instant::now();
            let outcome = fuzz::run(&built, target, seconds);
            lock(&tally).count(&format!("{FUZZ}::{target}"), begun.elapsed(), outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..FUZZERS {
            scope.spawn(work);
        }
    });
}

fn next<'a>(waiting: &Mutex<impl Iterator<Item = &'a String>>) -> Option<&'a String> {
    lock(waiting).next()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let suite = |name: &str, tests: &[&str]| Suite {
            name: name.into(),
            program: format!("/bin/{name}").into(),
            folder: "/".into(),
            tests: tests.iter().map(|test| test.to_string()).collect(),
            whole: true,
        };
        Plan {
            suites: vec![
                suite("policy", &["event::binds", "grant::maps"]),
                suite(MACHINES, &["boot/gzip", "xen/events-6.1"]),
                suite(TOOLS, &["tools/xl-4.17", "tools/xl-4.20", "record/answered"]),
            ],
            fuzz: vec!["event_words".into()],
            ..Plan::default()
        }
    }

    fn left(machines: Machines, names: &[&str]) -> Vec<String> {
        let mut plan = plan();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        plan.restrict(machines, &names);
        let tests = plan.suites.iter().flat_map(|suite| suite.tests.clone());
        tests.chain(plan.fuzz).collect()
    }

    #[test]
    fn a_name_is_looked_for_on_all_floors() {
        assert_eq!(left(Machines::All, &["event"]), ["event::binds", "xen/events-6.1", "event_words"]);
        assert_eq!(left(Machines::All, &["policy::grant", "gzip"]), ["grant::maps", "boot/gzip"]);
        assert_eq!(left(Machines::All, &["xl"]), ["tools/xl-4.17", "tools/xl-4.20"]);
        assert!(left(Machines::All, &["nothing of the kind"]).is_empty());
    }

    #[test]
    fn what_is_asked_for_decides_about_machines() {
        assert_eq!(left(Machines::None, &[]), ["event::binds", "grant::maps", "event_words"]);
        assert_eq!(left(Machines::OnlyTools, &[]), ["tools/xl-4.17", "tools/xl-4.20", "record/answered"]);
        let plain = left(Machines::OneVersionOfTools, &[]);
        assert_eq!(plain.len(), 7);
        assert!(!plain.contains(&"tools/xl-4.20".to_owned()));
    }
}
