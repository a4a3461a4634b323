//! What a guest of this architecture stops for, and what it finds when it goes on.
//!
//! The rest of the crate calls what is here by names that no architecture has for itself.

mod device_access;
mod exit;
mod fault;
mod firmware;
mod inject;
mod physical_timer;

pub use device_access::resume;
pub use exit::handle;
pub use inject::system_error;
pub use physical_timer::due as timer_due;

use xenolith_isa::regs::GuestRegs;

/// Whether the vCPU that runs here was in a program, and not in its kernel.
#[inline]
pub fn runs_program(regs: &GuestRegs) -> bool {
    regs.pstate.is_el0()
}
