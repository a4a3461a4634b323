//! Hypercalls: decode, permission, typed call, encode; nothing else stands here.
//!
//! A call that has worked for long while an interrupt waits returns to the guest with its progress in the arguments
//! and the program counter at the HVC again, so that it is made anew after the interrupt ([`Reply::Again`]).
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod access;
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

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;

use xenolith_arch as arch;
use xenolith_core::types::DomId;
use xenolith_domain::cpu::Local;
use xenolith_domain::domain::Domain;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_isa::regs::GuestRegs;

/// The five arguments: x0 to x4.
pub type Arguments = [u64; 5];

/// How a call ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value for x0.
    Value(u64),
    /// More is to be done: the call is made again with these arguments.
    Again(Arguments),
}

/// The result of a call.
pub type Answer = Result<Reply, Errno>;

/// Done, with zero in x0.
const DONE: Answer = Ok(Reply::Value(0));

fn value(value: impl Into<u64>) -> Answer {
    Ok(Reply::Value(value.into()))
}

/// Who calls, and what the call may use.
pub struct Caller<'a> {
    /// The hypervisor.
    pub hv: &'a Hypervisor,
    /// The calling vCPU.
    pub vcpu: &'a VcpuRef,
    /// The CPU that it runs on.
    pub local: &'a mut Local,
    /// Its registers.
    pub regs: &'a mut GuestRegs,
}

impl Caller<'_> {
    /// The calling domain.
    pub fn domain(&self) -> &Domain {
        &self.vcpu.domain
    }

    /// Whether a long call should let the guest take an interrupt first.
    pub fn should_pause(&self) -> bool {
        arch::interrupt_waits()
    }

    /// The domain that `id` means, if the caller may act for it: itself, or any other for the control domain.
    #[inline(never)]
    pub fn target(&self, id: u16) -> Result<alloc::sync::Arc<Domain>, Errno> {
        let id = DomId(id);
        if id == DomId::SELF || id == self.domain().id {
            return Ok(self.vcpu.domain.clone());
        }
        self.require_control()?;
        self.hv.domain(id).ok_or(Errno::ESRCH)
    }

    /// The guest `id` whose device model the caller may be. `ESRCH`: there is none. `EPERM`: it is the caller itself, or
    /// one that it was not given.
    pub fn device_model_target(&self, id: u16) -> Result<alloc::sync::Arc<Domain>, Errno> {
        let id = DomId(id);
        if id == DomId::SELF {
            return Err(Errno::EPERM);
        }
        let guest = self.hv.domain(id).ok_or(Errno::ESRCH)?;
        if guest.has_device_model(self.domain()) { Ok(guest) } else { Err(Errno::EPERM) }
    }

    /// Refuses everyone but the control domain.
    pub fn require_control(&self) -> Result<(), Errno> {
        if self.domain().is_control { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// Makes the call that the vCPU's registers describe: number in x16, arguments in x0 to x4, result in x0.
// Every hypercall comes this way, from one place.
#[inline(always)]
pub fn call(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, regs: &mut GuestRegs) {
    let number = regs.x[16];
    let arguments = [regs.x[0], regs.x[1], regs.x[2], regs.x[3], regs.x[4]];
    let mut caller = Caller { hv, vcpu, local, regs };
    let answer = dispatch(&mut caller, number, arguments);
    match answer {
        Ok(Reply::Value(value)) => regs.x[0] = value,
        Ok(Reply::Again(arguments)) => {
            regs.x[..arguments.len()].copy_from_slice(&arguments);
            regs.pc = regs.pc.wrapping_sub(4);
            // What has gone so far is dropped with the rest: a device model that drops all at each piece costs seconds.
            return;
        }
        Err(errno) => regs.x[0] = errno.to_register(),
    }
    // Whoever maps the domain's memory drops what has gone from it before the guest goes on.
    if vcpu.vcpu().take_mapcache_stale() && vcpu.domain.invalidate_mappings(hv, vcpu.id) {
        local.choose();
    }
}

/// One call, by number.
fn dispatch(caller: &mut Caller<'_>, number: u64, arguments: Arguments) -> Answer {
    match Hypercall::from_number(number) {
        Some(Hypercall::MemoryOp) => memory::call(caller, arguments),
        Some(Hypercall::Multicall) => multicall::call(caller, arguments),
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
