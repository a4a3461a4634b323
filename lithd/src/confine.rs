//! How a device's process gives up what it does not need.
//!
//! Principle: a guest that takes the process over has gained the guest's own memory, its own disk, and nothing else. What
//! cannot be given up is a reason not to serve ([`Confinement`]), unless people say otherwise.

use std::fmt::Display;

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use xenolith_confine::{give_up_root, leave_file_system};

/// What a process has given up so far, and what it could not.
pub struct Confinement {
    allow_weak: bool,
    lacks: Vec<String>,
}

impl Confinement {
    /// Nothing is given up yet. `allow_weak`: what cannot be given up is only noted.
    pub fn new(allow_weak: bool) -> Confinement {
        Confinement { allow_weak, lacks: Vec::new() }
    }

    /// Takes the outcome of a step: `Some` and an error say what was not to be had.
    ///
    /// # Errors
    /// Something was not to be had, and that is not allowed.
    pub fn note<T: Display, E: Display>(&mut self, outcome: Result<Option<T>, E>) -> Result<()> {
        let lack = match outcome {
            Ok(None) => return Ok(()),
            Ok(Some(lack)) => lack.to_string(),
            // All causes, where an error has any.
            Err(error) => format!("{error:#}"),
        };
        if !self.allow_weak {
            bail!("cannot be confined: {lack}; lithd with `--allow-weak` serves all the same");
        }
        self.lacks.push(lack);
        Ok(())
    }

    /// What was not to be had, for people, to be put before what they hear of the device: its end may be cut off. Empty:
    /// nothing.
    pub fn weakness(&self) -> String {
        match self.lacks.as_slice() {
            [] => String::new(),
            lacks => format!("weakly confined ({}): ", lacks.join(", ")),
        }
    }
}

/// Bytes that a device may have the kernel pin for it: 4 MiB (`virtio`'s stages) and its rings, with room. Linux's usual
/// limit is 8 MiB. It counts by user, and each device's process is a user of its own by then.
const LOCKED: u64 = 16 << 20;

/// Allows this process [`LOCKED`] bytes of locked memory, which takes root. Without it disks work, but slower: so where it
/// is refused, as much is taken as there is.
pub fn allow_locked_memory() {
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    // `None` is no limit.
    let enough = |limit: Option<u64>| limit.map(|limit| limit.max(LOCKED));
    let raised = Rlimit { current: enough(current), maximum: enough(maximum) };
    if setrlimit(Resource::Memlock, raised).is_err() {
        let _ = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    }
}

/// privcmd's calls of device models, and its mapping of another domain's pages (`xen/privcmd.h` of Linux). Its
/// hypercalls are not among them.
const DM_OP: u64 = 0x10_5005;
const MMAP_BATCH: u64 = 0x20_5004;
/// evtchn's notification (`xen/evtchn.h`).
const NOTIFY: u64 = 0x04_4504;

/// Allows all threads the system calls that serving takes, and no others: those fail with `EPERM`.
///
/// # Errors
/// The kernel has no filters.
pub fn filter_system_calls() -> Result<()> {
    xenolith_confine::filter_system_calls(&[DM_OP, MMAP_BATCH, NOTIFY])
}

#[cfg(test)]
mod tests;
