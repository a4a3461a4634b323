//! System errors: accesses that the memory system refuses, and says so only when somebody waits for its answer or a guest
//! runs next.

use xenolith_isa::exception::{self, Exception};
use xenolith_isa::regs::{GuestRegs, Pstate};
use xenolith_isa::system_error::SystemError;

use super::context::{el1_state, set_exception};
use super::machine::with;

/// Completes all accesses made on this CPU, and takes the system error that is pending then.
pub fn take_system_error() -> Option<SystemError> {
    with(|machine| machine.cpu().system_error.take())
}

/// Whether a system error of the machine is pending on this CPU.
pub fn system_error_waits() -> bool {
    with(|machine| machine.cpu().system_error.is_some())
}

/// Makes a system error pending for the vCPU that runs on this CPU.
pub fn pend_system_error(error: SystemError) {
    with(|machine| machine.cpu().registers.virtual_error = Some(error));
}

/// The memory system refuses an access that was made on this CPU.
pub fn refuse_access(error: SystemError) {
    with(|machine| machine.cpu().system_error = Some(error));
}

/// The CPU goes on in its guest, which takes the virtual system error if there is one and its PSTATE.A lets it.
pub fn enter_guest(regs: &mut GuestRegs) {
    if regs.pstate.0 & Pstate::A != 0 {
        return;
    }
    let Some(error) = with(|machine| machine.cpu().registers.virtual_error.take()) else { return };
    let taken = exception::take(Exception::SError { iss: error.iss() }, regs.pc, regs.pstate, &el1_state());
    set_exception(&taken);
    (regs.pc, regs.pstate) = (taken.pc, taken.pstate);
}
