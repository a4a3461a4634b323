//! Who makes a hypercall, with what arguments, and how it ends.
//!
//! A call that has worked for long while an interrupt waits becomes a hypercall continuation ([`Reply::Continue`]): its progress
//! goes into the argument registers and the program counter back to the call, so that the guest takes the interrupt and then
//! makes the rest of the call.
//!
//! The families say which error each operation returns. Every call whose arguments lead to memory returns `EFAULT` besides, if
//! the caller itself could not read, or write, what they lead to.

use xenolith_domain::Arc;

use xenolith_abi::Errno;

use xenolith_arch as arch;
use xenolith_core::types::DomId;
use xenolith_domain::arch::GuestRegs;
use xenolith_domain::cpu::Local;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_domain::parts::progress::Progress;

/// The five arguments.
pub type Arguments = [u64; 5];

/// How a call ends that does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The result: zero, or what was asked for.
    Value(u64),
    /// A hypercall continuation: the guest makes the rest of the call, with these arguments.
    Continue(Arguments),
}

/// How a call ends.
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

    /// Whether an interrupt is pending on this CPU, which a long call lets the guest take before it goes on.
    pub fn should_pause(&self) -> bool {
        self.hv.accounts.look(self.local.id());
        arch::interrupt_waits()
    }

    /// Makes a domain's grant table have so many frames, if it can have them. False: an interrupt waits, and what has been
    /// done until now need not be done again.
    pub fn grow_grants(&self, domain: &Domain, frames: u64) -> bool {
        while domain.on(self.hv).grow_grants(frames) == Progress::Again {
            if self.should_pause() {
                return false;
            }
        }
        true
    }

    /// The domain that `id` means, if the caller may act for it: itself (`DOMID_SELF` or by its number), or any other for the
    /// control domain. `EPERM`: another, and the caller is not the control domain. `ESRCH`: there is none.
    #[inline(never)]
    pub fn target(&self, id: DomId) -> Result<Arc<Domain>, Errno> {
        // Its own number, too, without a look at the list of domains: a call of a domain about itself is the frequent
        // case.
        if id == DomId::SELF || id == self.domain().id {
            return Ok(self.vcpu.domain.clone());
        }
        // Before the list is asked: who may not act for others does not learn which there are.
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

    /// `EPERM`: the caller is not the control domain.
    pub fn require_control(&self) -> Result<(), Errno> {
        if self.domain().is_control { Ok(()) } else { Err(Errno::EPERM) }
    }
}
