//! How a device's process gives up what it does not need.
//!
//! Principle: a guest that takes the process over has gained the guest's own memory, its own disk, and nothing else.

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use xenolith_confine::{give_up_root, leave_file_system};

/// Bytes that all devices of a domain together may have the kernel pin for them: 4 MiB each (`virtio`'s stages),
/// of which Linux's usual 8 MiB are two disks' worth. It counts by user, and all of them are the same one then.
const LOCKED: u64 = 1 << 30;

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
