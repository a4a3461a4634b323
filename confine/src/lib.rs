//! How a process that works on a guest's data gives up what it does not need for that.
//!
//! Principle: a guest that takes the process over has gained what the process has open for it, and nothing else. What is
//! needed is opened before; rights go in an order in which each step still may take the next: [`limit`], [`give_up_root`],
//! [`leave_file_system`], [`filter_system_calls`].

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use landlock::{ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, Scope};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, set_capabilities_secure_bits};
use rustix::thread::{Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule,
};

/// The user and group that own nothing. Other programs may run as them, too.
const NOBODY: u32 = 65534;
/// Users of processes that have one of their own: this one, plus the process's ID, of which Linux has fewer than 2^22. No user
/// database and no container's map gives these numbers away (systemd's "Users, Groups, UIDs and GIDs": unused).
pub const OWN_USERS: u32 = 0x7000_0000;

/// The Landlock of Linux 5.19 (ABI 2), which confines every access by a path. What later ones add, the filter refuses as a
/// system call: truncating by a path, the network, signals to others and sockets without a path.
const LEAST_LANDLOCK: ABI = ABI::V2;

/// Gives root up for good: a user and group of this process's own, no other groups, no capabilities and no way to get any
/// back. So what Linux counts or allows by user, locked memory or signals, has nothing to do with other processes. Returns
/// what was not to be had: without root a process stays who it is, and where a user namespace knows no such user, it becomes
/// nobody, as others may be.
///
/// Only of the calling thread, so there must be no other yet.
///
/// # Errors
/// The system refuses; the process must then end.
pub fn give_up_root() -> Result<Option<&'static str>> {
    // Also what the kernel asks for before it takes Landlock's rules or a filter from a process without capabilities.
    rustix::thread::set_no_new_privs(true).context("cannot renounce new privileges")?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("no user of its own, as it was not started by root"));
    }
    // The bounding set and the secure bits take CAP_SETPCAP, and go before the user: with the last of its user IDs that
    // is 0 a thread loses its permitted capabilities (capabilities(7)).
    for number in 0..64 {
        // Numbers that the kernel does not know are refused; what is left of others goes with the user.
        if let Some(capability) = CapabilitySet::from_bits(1 << number) {
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    set_capabilities_secure_bits(bits).context("cannot lock capabilities out")?;
    rustix::thread::set_thread_groups(&[]).context("cannot leave groups")?;
    let own = OWN_USERS.saturating_add(getpid().as_raw_nonzero().get().unsigned_abs());
    match become_user(own) {
        Ok(()) => Ok(None),
        // Not in the map of the user namespace (setresgid(2)).
        Err(Errno::INVAL) => {
            become_user(NOBODY).context("cannot change the user")?;
            Ok(Some("no user of its own"))
        }
        Err(error) => Err(error).context("cannot change the user"),
    }
}

/// The group of this number, and then the user: with the user goes CAP_SETGID.
fn become_user(number: u32) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)
}

/// Takes away every way to the file system and the network, but for what is open. Returns what was not to be had: Landlock,
/// if the kernel has none, or one older than that of Linux 5.19.
///
/// Of the calling thread and those that it starts.
///
/// # Errors
/// The kernel knows Landlock and refuses.
pub fn leave_file_system() -> Result<Option<&'static str>> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(missing(&status.landlock))
}

/// What a kernel with this Landlock cannot enforce of what has to be.
fn missing(landlock: &LandlockStatus) -> Option<&'static str> {
    match landlock {
        LandlockStatus::Available { effective_abi, .. } if *effective_abi >= LEAST_LANDLOCK => None,
        LandlockStatus::Available { .. } => Some("an older Landlock than that of Linux 5.19"),
        LandlockStatus::NotEnabled => {
            Some("no Landlock, which is off (`lsm=landlock,...` on the kernel's command line)")
        }
        LandlockStatus::NotImplemented => Some("no Landlock, which the kernel lacks"),
    }
}

/// Lets this process have so many bytes of address space and so many seconds of a CPU, and no more.
///
/// # Errors
/// The system refuses.
pub fn limit(memory: u64, seconds: u64) -> Result<()> {
    for (resource, most) in [(Resource::As, memory), (Resource::Cpu, seconds), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .context("cannot limit itself")?;
    }
    Ok(())
}

/// Allows all threads the system calls that work on open files takes, these `ioctl`s, and no others: those fail with `EPERM`.
/// Signals go to this process alone.
///
/// # Errors
/// The kernel has no filters.
pub fn filter_system_calls(ioctls: &[u64]) -> Result<()> {
    let program = program(ioctls, getpid().as_raw_nonzero().get().unsigned_abs())?;
    seccompiler::apply_filter_all_threads(&program).context("cannot filter system calls")
}

const EPERM: u32 = libc::EPERM.unsigned_abs();

/// The filter of a process with this ID.
fn program(ioctls: &[u64], process: u32) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    let (refused, allowed) = (SeccompAction::Errno(EPERM), SeccompAction::Allow);
    Ok(SeccompFilter::new(rules(ioctls, process)?, refused, allowed, arch)?.try_into()?)
}

fn rules(ioctls: &[u64], process: u32) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // A process ID is 32 bits, too. This is what `raise` and `abort` call.
    rules.insert(libc::SYS_tgkill, vec![rule(0, ArgLen::Dword, Op::Eq, process.into())?]);
    // The kernel takes the call's number as 32 bits, so that more are not to be compared: the upper half of the
    // register may be anything.
    let ioctls = ioctls.iter().map(|&number| rule(1, ArgLen::Dword, Op::Eq, number));
    let ioctls = ioctls.collect::<Result<Vec<_>>>()?;
    // A call without conditions would be allowed whatever its arguments.
    if !ioctls.is_empty() {
        rules.insert(libc::SYS_ioctl, ioctls);
    }
    // Memory is never made executable.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(2, ArgLen::Dword, Op::MaskedEq(executable), 0)?]);
    }
    Ok(rules)
}

fn rule(argument: u8, len: ArgLen, op: Op, value: u64) -> Result<SeccompRule> {
    Ok(SeccompRule::new(vec![Condition::new(argument, len, op, value)?])?)
}

/// System calls that are allowed whatever their arguments. None of them opens, starts or names anything.
const ALLOWED: &[i64] = &[
    // Images.
    libc::SYS_io_uring_enter,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_flock,
    // Events, reports, the log.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_close,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    // Threads, time, the end.
    libc::SYS_futex,
    // A thread that has only just started.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests;
