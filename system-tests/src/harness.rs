//! From a scenario to a trial: a folder of its own, the console's tail on failure.

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

use crate::turns::{Running, Turn};

/// Machines that run at once, unless `--test-threads` says otherwise.
const MACHINES: usize = 2;
/// Lines of the console that a failed test shows.
const TAIL: usize = 50;

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

/// A test program: makes a trial of each scenario that its arguments name, or lists them.
pub fn main(scenarios: impl FnOnce() -> Result<Vec<Scenario>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(MACHINES);
    let assets = if arguments.list { Ok(None) } else { Assets::prepare().map(Some) };
    match assets.and_then(|assets| Ok(trials(assets, scenarios()?))) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("system-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Turns scenarios into trials. Without assets they can be listed only.
fn trials(assets: Option<Assets>, scenarios: Vec<Scenario>) -> Vec<Trial> {
    let assets = assets.map(Arc::new);
    let trial = |Scenario { name, run }| {
        let lab =
            assets.clone().map(|assets| Lab { folder: assets.output.join(name_of_folder(&name)), assets });
        Trial::test(name, move || lab.map_or(Ok(()), |lab| attempt(&lab, run)))
    };
    scenarios.into_iter().map(trial).collect()
}

fn name_of_folder(name: &str) -> String {
    name.replace('/', ".")
}

fn attempt(lab: &Lab, run: Run) -> Result<(), Failed> {
    let start = Instant::now();
    let result = prepare(lab).and_then(|()| run(lab));
    let _ = fs::write(lab.folder.join("seconds"), format!("{:.1}\n", start.elapsed().as_secs_f32()));
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
