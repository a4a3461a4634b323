//! From a scenario to a trial: its turn, a folder of its own, the console's tail on failure.

mod schedule;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use crate::assets::Assets;
use crate::machine::{Machine, log_file};
use crate::setup::Setup;
use crate::shell::PROGRAM;
use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use testbed::kernel::Series;
use testbed::paths;

use crate::turns::{Running, Turn};

/// Machines that run at once, unless `--test-threads` says otherwise.
const MACHINES: usize = 2;
/// Lines of the console that a failed test shows.
const TAIL: usize = 50;

/// The file that says how long a scenario took.
const SECONDS: &str = "seconds";

/// What a scenario does.
type Run = Box<dyn FnOnce(&Lab) -> Result<()> + Send>;

/// A named function that drives machines.
pub struct Scenario {
    name: String,
    run: Run,
}

impl Scenario {
    /// Makes one.
    pub fn new(name: impl Into<String>, run: impl FnOnce(&Lab) -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What a scenario works with.
pub struct Lab {
    /// The files of all tests.
    pub assets: Arc<Assets>,
    /// This test's own folder: scratch files, and the console log.
    pub folder: PathBuf,
}

impl Lab {
    /// The usual machine with that kernel and our initial ram disk, whose shell listens.
    pub fn linux(&self, series: Series) -> Result<Setup> {
        let mut setup = Setup::new(&self.assets).bootarg(&format!("run={PROGRAM}"));
        setup.kernel = Some(self.assets.kernel(series)?.image());
        setup.initrd = Some(self.assets.initramfs(series));
        Ok(setup)
    }

    /// Starts a machine that logs into this test's folder, when its turn has come.
    pub fn start(&self, setup: &Setup) -> Result<Running> {
        let turn = Turn::wait(setup.cpus);
        Ok(Running::new(Machine::start(setup, &self.folder)?, turn))
    }

    /// Starts a machine of so many CPUs by a command of the scenario's own.
    pub fn start_command(&self, command: Command, cpus: u32) -> Result<Running> {
        let turn = Turn::wait(cpus);
        Ok(Running::new(Machine::start_command(command, &self.folder)?, turn))
    }
}

/// A test program: makes a trial of each scenario that its arguments name, or lists them. `--only NAME` takes a whole name,
/// and may be there several times; all other arguments are libtest's.
pub fn main(scenarios: impl FnOnce() -> Result<Vec<Scenario>>) -> ExitCode {
    let (only, rest) = whole_names(env::args());
    let mut arguments = Arguments::from_iter(rest);
    arguments.test_threads.get_or_insert(MACHINES);
    let assets = if arguments.list { Ok(None) } else { Assets::prepare().map(Some) };
    let chosen = |assets| {
        let mut scenarios = scenarios()?;
        scenarios.retain(|scenario| only.is_empty() || only.contains(&scenario.name));
        if !arguments.list {
            schedule::longest_first(&mut scenarios);
        }
        Ok(trials(assets, scenarios))
    };
    match assets.and_then(chosen) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("system-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The names behind each `--only`, and what else there is.
fn whole_names(arguments: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let (mut only, mut rest) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only.extend(arguments.next()),
            _ => rest.push(argument),
        }
    }
    (only, rest)
}

/// Turns scenarios into trials. Without assets they can be listed only.
fn trials(assets: Option<Assets>, scenarios: Vec<Scenario>) -> Vec<Trial> {
    let assets = assets.map(Arc::new);
    let trial = |Scenario { name, run }| {
        let lab = assets.clone().map(|assets| Lab { folder: folder_of(&name), assets });
        Trial::test(name, move || lab.map_or(Ok(()), |lab| attempt(&lab, run)))
    };
    scenarios.into_iter().map(trial).collect()
}

/// The folder of the scenario of that name.
fn folder_of(name: &str) -> PathBuf {
    paths::target().join("system-tests").join(name.replace('/', "."))
}

fn attempt(lab: &Lab, run: Run) -> Result<(), Failed> {
    let start = Instant::now();
    let result = prepare(lab).and_then(|()| run(lab));
    let _ = fs::write(lab.folder.join(SECONDS), format!("{:.1}\n", start.elapsed().as_secs_f32()));
    result.map_err(|error| {
        let log = log_file(&lab.folder);
        let console = fs::read(&log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        Failed::from(format!("{error:#}\n--- last lines of {}\n{tail}\n---", log.display()))
    })
}

/// Empties the test's folder.
fn prepare(lab: &Lab) -> Result<()> {
    if lab.folder.exists() {
        fs::remove_dir_all(&lab.folder)?;
    }
    fs::create_dir_all(&lab.folder).with_context(|| format!("creating {}", lab.folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_told_from_the_other_arguments() {
        let arguments = ["machines", "--only", "boot/gzip", "--list", "--only", "xen/grants-6.1", "xen"];
        let (only, rest) = whole_names(arguments.into_iter().map(str::to_owned));
        assert_eq!(only, ["boot/gzip", "xen/grants-6.1"]);
        assert_eq!(rest, ["machines", "--list", "xen"]);
    }
}
