//! Machines that several scenarios use, one after the other, so that they boot once.
//!
//! That is for scenarios which leave a machine as they found it. One that fails takes its machine along. A machine that waits
//! for its next scenario does nothing, and takes nobody's turn.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::harness::{Lab, Scenario};
use crate::machine::{Machine, log_file};
use crate::setup::Setup;
use crate::shell::Shell;
use crate::turns::Turn;

/// Describes the machine.
type Describe = Box<dyn Fn(&Lab) -> Result<Setup> + Send + Sync>;

/// Machines of one description. There are as many as scenarios of theirs run at once.
pub struct Shared {
    name: String,
    describe: Describe,
    started: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
}

/// A machine whose shell listens, and the folder that it logs into.
struct Idle {
    machine: Machine,
    folder: PathBuf,
}

impl Shared {
    /// Machines of that description; `name` is that of their folders.
    pub fn new(
        name: impl Into<String>,
        describe: impl Fn(&Lab) -> Result<Setup> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (started, idle) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { name: name.into(), describe: Box::new(describe), started, idle })
    }

    /// A scenario that works at the shell of such a machine.
    pub fn scenario(
        self: &Arc<Self>,
        name: impl Into<String>,
        work: impl FnOnce(&mut Shell) -> Result<()> + Send + 'static,
    ) -> Scenario {
        let shared = Arc::clone(self);
        Scenario::new(name, move |lab| shared.run(lab, work))
    }

    fn run(self: Arc<Self>, lab: &Lab, work: impl FnOnce(&mut Shell) -> Result<()>) -> Result<()> {
        let setup = (self.describe)(lab)?;
        let turn = Turn::wait(setup.cpus);
        let waiting = self.lock().pop();
        let mut one = match waiting {
            Some(one) => one,
            None => self.boot(lab, &setup)?,
        };
        symlink(log_file(&one.folder), log_file(&lab.folder))?;
        work(&mut Shell::that_listens(&mut one.machine.console))?;
        self.lock().push(one);
        // The last scenario turns the machines off.
        if let Some(shared) = Arc::into_inner(self) {
            let idle = shared.idle.into_inner().unwrap_or_else(PoisonError::into_inner);
            for Idle { mut machine, .. } in idle {
                Shell::that_listens(&mut machine.console).last("poweroff -f")?;
                machine.wait_for_end()?;
            }
        }
        drop(turn);
        Ok(())
    }

    fn boot(&self, lab: &Lab, setup: &Setup) -> Result<Idle> {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let folder = lab.assets.output.join(format!("shared.{}-{number}", self.name));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut machine = Machine::start(setup, &folder)?;
        machine.shell()?;
        Ok(Idle { machine, folder })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
