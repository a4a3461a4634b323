//! Who makes a hypercall, with what arguments, and how it ends.
//!
//! A call that has worked for long while an interrupt waits is a hypercall continuation: it returns to the guest with its
//! progress in the arguments, and is made anew after the interrupt ([`Reply::Continue`]).

use alloc::sync::Arc;

use xenolith_abi::Errno;

use xenolith_arch as arch;
use xenolith_core::types::DomId;
use xenolith_domain::arch::GuestRegs;
use xenolith_domain::cpu::Local;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};

/// The five arguments.
pub type Arguments = [u64; 5];

/// How a call ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The result.
    Value(u64),
    /// A hypercall continuation: more is to be done, and the call is made again with these arguments.
    Continue(Arguments),
}

/// The result of a call.
pub type Answer = Result<Reply, Errno>;

/// Done, with zero as the result.
pub const DONE: Answer = Ok(Reply::Value(0));

/// Done, with a value as the result.
pub fn value(value: impl Into<u64>) -> Answer {
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

impl<'a> Caller<'a> {
    /// The calling domain.
    pub fn domain(&self) -> DomainRef<'a> {
        self.vcpu.domain.on(self.hv)
    }

    /// Whether a long call should let the guest take an interrupt first.
    pub fn should_pause(&self) -> bool {
        arch::interrupt_waits()
    }

    /// The domain that `id` means, if the caller may act for it: itself, or any other for the control domain.
    #[inline(never)]
    pub fn target(&self, id: DomId) -> Result<Arc<Domain>, Errno> {
        if id == DomId::SELF || id == self.domain().id {
            return Ok(self.vcpu.domain.clone());
        }
        self.require_control()?;
        self.hv.domain(id).ok_or(Errno::ESRCH)
    }

    /// The guest `id` whose device model the caller may be. `ESRCH`: there is none. `EPERM`: it is the caller itself, or
    /// one that it was not given.
    pub fn device_model_target(&self, id: DomId) -> Result<Arc<Domain>, Errno> {
        if id == DomId::SELF {
            return Err(Errno::EPERM);
        }
        let guest = self.hv.domain(id).ok_or(Errno::ESRCH)?;
        if guest.has_device_model(&self.domain()) { Ok(guest) } else { Err(Errno::EPERM) }
    }

    /// Refuses everyone but the control domain.
    pub fn require_control(&self) -> Result<(), Errno> {
        if self.domain().is_control { Ok(()) } else { Err(Errno::EPERM) }
    }
}
