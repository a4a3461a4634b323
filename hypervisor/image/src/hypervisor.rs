//! Where traps and further CPUs find the hypervisor.

use xenolith_core::sync::Once;
use xenolith_domain::hypervisor::Hypervisor;

static HYPERVISOR: Once<&'static Hypervisor> = Once::new();

/// Says which one it is. Called once, by the boot.
pub fn set(hypervisor: &'static Hypervisor) {
    HYPERVISOR.call_once(|| hypervisor);
}

/// The hypervisor. Nothing asks before the boot has made it.
pub fn get() -> &'static Hypervisor {
    match HYPERVISOR.get() {
        Some(hypervisor) => hypervisor,
        None => unreachable!("the boot makes the hypervisor before any CPU runs a guest"),
    }
}
