//! What a guest of this architecture stops for, and what it finds when it goes on.
//!
//! The rest of the crate calls what is here by names that no architecture has for itself.

mod device_access;
mod exit;
mod fault;
mod firmware;
mod inject;
mod interrupts;
mod physical_timer;
mod system_error;

pub use device_access::resume;
pub use exit::handle;
pub use interrupts::take_all as take_interrupts;
pub use physical_timer::due as timer_due;
pub use system_error::{settle_system_errors, system_error, take_stray_errors};

use xenolith_arch as arch;
use xenolith_arch::context::Context;
use xenolith_domain::cpu::Local;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_isa::regs::GuestRegs;

/// The vCPU that runs here has left its guest: who it is, and what may change before it goes on.
pub struct Exit<'a> {
    /// The hypervisor.
    pub hv: &'a Hypervisor,
    /// The vCPU.
    pub vcpu: &'a VcpuRef,
    /// The CPU that it runs on.
    pub local: &'a mut Local,
    /// Its registers.
    pub regs: &'a mut GuestRegs,
}

impl<'a> Exit<'a> {
    /// Its domain.
    #[inline]
    fn domain(&self) -> DomainRef<'a> {
        self.vcpu.domain.on(self.hv)
    }

    /// The same, made where it is needed: what is called with it out of line needs it in memory, and a trap that does not
    /// come there keeps it in registers.
    #[inline(always)]
    fn reborrow(&mut self) -> Exit<'_> {
        Exit { hv: self.hv, vcpu: self.vcpu, local: self.local, regs: self.regs }
    }
}

/// Puts a vCPU's state into this CPU, which translates guest addresses by the domain's p2m from here on.
#[inline]
pub fn load(domain: &Domain, context: &Context) {
    context.load(domain.arch.stage2);
}

/// Has it translate by none, so that the tables of the p2m that it had can be freed.
#[inline]
pub fn unload_p2m() {
    arch::deactivate_stage2();
}

/// Whether the vCPU that runs here was in a program, and not in its kernel.
#[inline]
pub fn runs_program(regs: &GuestRegs) -> bool {
    regs.pstate.is_el0()
}
