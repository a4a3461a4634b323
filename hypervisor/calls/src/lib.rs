//! Hypercalls: decode, permission, typed call, encode; nothing else stands here.
//!
//! Which registers hold a call is the architecture's to know ([`HypercallAbi`]); who makes it, and how it ends, stands in
//! `caller`; each family of calls has a file.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aarch64;
mod access;
mod caller;
#[cfg(feature = "check-tables")]
mod check_tables;
mod console;
#[cfg(feature = "ioreq")]
mod dm;
mod domctl;
mod event;
mod grant;
mod hvm;
mod memory;
mod multicall;
mod sched;
mod small;
mod sysctl;
mod vcpu;
mod version;
mod xenolith;

// The guests' architecture. Nothing beside that module names what only one has.
use aarch64 as guest;

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;

use xenolith_domain::arch::HypercallAbi;

pub use caller::Caller;

use caller::{Answer, Arguments, Reply};

/// Makes the call that the caller's registers describe, and leaves its result in them.
// Every hypercall comes this way, from one place.
#[inline(always)]
pub fn call(caller: Caller<'_>) {
    // Apart, so that only what is called needs them in memory.
    let Caller { hv, vcpu, local, regs } = caller;
    let abi = HypercallAbi(regs);
    let (number, arguments) = (abi.number(), abi.arguments());
    let answer = dispatch(&mut Caller { hv, vcpu, local, regs }, number, arguments);
    #[cfg(feature = "check-tables")]
    check_tables::after(vcpu.domain.on(hv), number);
    let mut abi = HypercallAbi(regs);
    match answer {
        Ok(Reply::Value(value)) => abi.set_result(value),
        Ok(Reply::Continue(arguments)) => {
            abi.restart(&arguments);
            // The mapcache is invalidated once, at the end: a device model that drops its mappings at each piece costs
            // seconds.
            return;
        }
        Err(errno) => abi.set_result(errno.to_register()),
    }
    // Whoever maps the domain's memory drops the pages that have left it before the guest goes on.
    if let Some(stale) = vcpu.vcpu().take_mapcache_stale()
        && vcpu.domain.on(hv).invalidate_mappings(vcpu.id, &stale)
    {
        local.choose();
    }
}

/// One call, by number.
fn dispatch(caller: &mut Caller<'_>, number: u64, arguments: Arguments) -> Answer {
    match Hypercall::from_number(number) {
        Some(Hypercall::MemoryOp) => memory::call(caller, arguments),
        Some(Hypercall::Multicall) => multicall::call(caller, arguments, dispatch),
        Some(Hypercall::XenVersion) => version::call(caller, arguments),
        Some(Hypercall::ConsoleIo) => console::call(caller, arguments),
        Some(Hypercall::GrantTableOp) => grant::call(caller, arguments),
        Some(Hypercall::VcpuOp) => vcpu::call(caller, arguments),
        Some(Hypercall::SchedOp) => sched::call(caller, arguments),
        Some(Hypercall::EventChannelOp) => event::call(caller, arguments),
        Some(Hypercall::HvmOp) => hvm::call(caller, arguments),
        Some(Hypercall::PlatformOp) => small::platform_op(caller, arguments),
        Some(Hypercall::PhysdevOp) => small::physdev_op(caller, arguments),
        Some(Hypercall::Domctl) => domctl::call(caller, arguments),
        Some(Hypercall::Sysctl) => sysctl::call(caller, arguments),
        Some(Hypercall::VmAssist) => small::vm_assist(caller, arguments),
        #[cfg(feature = "ioreq")]
        Some(Hypercall::DmOp) => dm::call(caller, arguments),
        Some(Hypercall::Xenolith) => xenolith::call(caller, arguments),
        _ => Err(Errno::ENOSYS),
    }
}
