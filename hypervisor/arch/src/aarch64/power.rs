//! Ending: the machine's firmware is asked by PSCI; without one, or without an answer, the CPU halts.

use core::sync::atomic::{AtomicU8, Ordering};

use smccc::{Call, Hvc, Smc, arch, psci};
use xenolith_host::platform::Conduit;

/// There is no firmware to call: at EL2 the instruction itself may be undefined.
const NONE: u8 = 0;
const SMC: u8 = 1;
const HVC: u8 = 2;

static CONDUIT: AtomicU8 = AtomicU8::new(NONE);

/// Tells by which instruction the firmware takes calls (device tree, /psci `method`).
pub fn set_conduit(conduit: Option<Conduit>) {
    let conduit = match conduit {
        None => NONE,
        Some(Conduit::Smc) => SMC,
        Some(Conduit::Hvc) => HVC,
    };
    CONDUIT.store(conduit, Ordering::Relaxed);
}

/// Powers the machine off.
pub fn power_off() -> ! {
    match CONDUIT.load(Ordering::Relaxed) {
        SMC => drop(psci::system_off::<Smc>()),
        HVC => drop(psci::system_off::<Hvc>()),
        _ => {}
    }
    halt()
}

/// Resets the machine.
pub fn reset() -> ! {
    match CONDUIT.load(Ordering::Relaxed) {
        SMC => drop(psci::system_reset::<Smc>()),
        HVC => drop(psci::system_reset::<Hvc>()),
        _ => {}
    }
    halt()
}

/// Starts a CPU at `entry` with x0 = `context`.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Result<(), psci::error::Error> {
    match CONDUIT.load(Ordering::Relaxed) {
        SMC => psci::cpu_on::<Smc>(mpidr, entry, context),
        HVC => psci::cpu_on::<Hvc>(mpidr, entry, context),
        _ => Err(psci::error::Error::NotSupported),
    }
}

/// What the firmware answers to SMCCC_ARCH_FEATURES for the calling CPU; negative where it has no such function, or is not
/// called by SMC.
pub fn arch_features(function: u32) -> i32 {
    // Firmware without SMCCC 1.1 may do anything with the call. That it has it PSCI tells (DEN 0028, 7.1).
    let asks =
        CONDUIT.load(Ordering::Relaxed) == SMC && psci::psci_features::<Smc>(arch::SMCCC_VERSION).is_ok();
    let has =
        asks && arch::version::<Smc>().is_ok_and(|version| version >= arch::Version { major: 1, minor: 1 });
    if has {
        Smc::call32(arch::SMCCC_ARCH_FEATURES, [function, 0, 0, 0, 0, 0, 0])[0].cast_signed()
    } else {
        -1
    }
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        super::wait_for_interrupt();
    }
}
