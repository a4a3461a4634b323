//! From a scenario to a trial: a folder of its own, files made once for all, the console's tail on failure.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};
use system_tests::assets::{Assets, Release};
use system_tests::initramfs;
use system_tests::machine::{Machine, log_file};
use system_tests::setup::Setup;

/// Lines of the console that a failed test shows.
const TAIL: usize = 50;

/// A named function that drives machines.
pub struct Scenario {
    /// Name, as a filter finds it.
    pub name: String,
    /// What it does.
    pub run: Box<dyn FnOnce(&Lab) -> Result<()> + Send>,
}

impl Scenario {
    /// Makes one.
    pub fn new(name: impl Into<String>, run: impl FnOnce(&Lab) -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What a scenario works with: the files of all tests, and a folder of its own.
pub struct Lab {
    /// The files.
    pub assets: Assets,
    /// This test's folder: scratch files, and the console log.
    pub folder: PathBuf,
    shared: Arc<Mutex<()>>,
}

impl Lab {
    /// The usual machine with that kernel and our initial file system.
    pub fn linux(&self, release: Release) -> Result<Setup> {
        let mut setup = Setup::new(&self.assets);
        let linux = self.assets.linux(release);
        setup.initrd = Some(self.initramfs(release)?);
        setup.kernel = Some(linux.image);
        Ok(setup)
    }

    /// Starts a machine that logs into this test's folder.
    pub fn start(&self, setup: &Setup) -> Result<Machine> {
        Machine::start(setup, &self.folder)
    }

    /// Our initial file system for that kernel, built by the first test that wants it.
    fn initramfs(&self, release: Release) -> Result<PathBuf> {
        let file = self.assets.output.join(format!("initramfs-{release:?}.cpio"));
        let _one_builds = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !file.exists() {
            initramfs::build(&self.assets, &self.assets.linux(release), &file)?;
        }
        Ok(file)
    }
}

/// Turns scenarios into trials.
pub fn trials(assets: &Assets, scenarios: Vec<Scenario>) -> Vec<Trial> {
    let shared = Arc::default();
    for release in [Release::V6_1, Release::V6_12] {
        // Built anew in every run: the programs in it may have changed.
        let _ = fs::remove_file(assets.output.join(format!("initramfs-{release:?}.cpio")));
    }
    let trial = |scenario: Scenario| {
        let folder = assets.output.join(scenario.name.replace('/', "."));
        let lab = Lab { assets: assets.clone(), folder, shared: Arc::clone(&shared) };
        Trial::test(scenario.name, move || run(&lab, scenario.run))
    };
    scenarios.into_iter().map(trial).collect()
}

fn run(lab: &Lab, scenario: Box<dyn FnOnce(&Lab) -> Result<()> + Send>) -> Result<(), Failed> {
    let attempt = || {
        let _ = fs::remove_dir_all(&lab.folder);
        fs::create_dir_all(&lab.folder).with_context(|| format!("folder {}", lab.folder.display()))?;
        scenario(lab)
    };
    attempt().map_err(|error| {
        let log = log_file(&lab.folder);
        let console = fs::read(&log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        Failed::from(format!("{error:#}\n--- last lines of {}\n{tail}\n---", log.display()))
    })
}
