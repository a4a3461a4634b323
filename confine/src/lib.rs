//! How a process that works on a guest's data gives up what it does not need for that.
//!
//! Principle: a guest that takes the process over has gained what the process has open for it, and nothing else. What is
//! needed is opened before; rights go in an order in which each step still may take the next: [`limit`], [`give_up_root`],
//! [`leave_file_system`], [`filter_system_calls`].

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, set_capabilities_secure_bits};
use rustix::thread::{Gid, Uid};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule,
};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;

/// Gives root up for good: other user, no groups, no capabilities and no way to get any back.
///
/// Only of the calling thread, so there must be no other yet.
///
/// # Errors
/// The system refuses; the process must then end.
pub fn give_up_root() -> Result<()> {
    // Also what the kernel asks for before it takes Landlock's rules or a filter from a process without capabilities.
    rustix::thread::set_no_new_privs(true).context("cannot renounce new privileges")?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
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
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    // The user last, for the same reason: the groups take CAP_SETGID.
    rustix::thread::set_thread_groups(&[]).context("cannot leave groups")?;
    rustix::thread::set_thread_res_gid(group, group, group).context("cannot change the group")?;
    rustix::thread::set_thread_res_uid(user, user, user).context("cannot change the user")?;
    Ok(())
}

/// Takes away every way to the file system and the network, but for what is open. Returns what was not to be had.
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
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some("landlock partly"),
        RulesetStatus::NotEnforced => Some("no landlock"),
    })
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
///
/// # Errors
/// The kernel has no filters.
pub fn filter_system_calls(ioctls: &[u64]) -> Result<()> {
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules(ioctls)?, SeccompAction::Errno(EPERM), SeccompAction::Allow, arch)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program).context("cannot filter system calls")
}

const EPERM: u32 = libc::EPERM.unsigned_abs();

fn rules(ioctls: &[u64]) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
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
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests;
