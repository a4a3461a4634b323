//! The end, by PSCI.

use core::sync::atomic::{AtomicBool, Ordering};

use bare_guest::machine::Conduit;
use smccc::{Hvc, Smc, psci};

use crate::cpu;

/// Whether PSCI is called by `smc`. It is by `hvc` in every guest.
static BY_SMC: AtomicBool = AtomicBool::new(false);

/// Remembers how PSCI is called.
pub fn set_conduit(conduit: Conduit) {
    BY_SMC.store(conduit == Conduit::Smc, Ordering::Relaxed);
}

/// Turns the machine off: for a guest, that is its domain.
pub fn off() -> ! {
    let _ = match BY_SMC.load(Ordering::Relaxed) {
        true => psci::system_off::<Smc>(),
        false => psci::system_off::<Hvc>(),
    };
    // It does not come back, unless nobody is there to ask.
    loop {
        cpu::wait_until(|| false);
    }
}
