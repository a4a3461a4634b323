//! Ending: the machine's firmware is asked by PSCI; without an answer the CPU halts.

use core::sync::atomic::{AtomicBool, Ordering};

use smccc::{Hvc, Smc, psci};

static BY_HVC: AtomicBool = AtomicBool::new(false);

/// Tells by which instruction the firmware takes calls (device tree, /psci `method`).
pub fn set_conduit(hvc: bool) {
    BY_HVC.store(hvc, Ordering::Relaxed);
}

/// Powers the machine off.
pub fn power_off() -> ! {
    let _ =
        if BY_HVC.load(Ordering::Relaxed) { psci::system_off::<Hvc>() } else { psci::system_off::<Smc>() };
    halt()
}

/// Resets the machine.
pub fn reset() -> ! {
    let _ = if BY_HVC.load(Ordering::Relaxed) {
        psci::system_reset::<Hvc>()
    } else {
        psci::system_reset::<Smc>()
    };
    halt()
}

/// Starts a CPU at `entry` with x0 = `context`.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Result<(), psci::error::Error> {
    if BY_HVC.load(Ordering::Relaxed) {
        psci::cpu_on::<Hvc>(mpidr, entry, context)
    } else {
        psci::cpu_on::<Smc>(mpidr, entry, context)
    }
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        super::wait_for_interrupt();
    }
}
