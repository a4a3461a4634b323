//! What is done about errata of the CPUs that there are ([`xenolith_host::errata`]).

use xenolith_host::errata::{Erratum, Needs};
use xenolith_hw::dsb;

/// What the CPUs that have come up need, whichever CPU does it.
static NEEDS: Needs = Needs::new();

/// Looks up the errata of the calling CPU, before it runs a guest. `tell` hears of each from the first CPU that has it.
pub fn init_cpu(tell: impl Fn(&Erratum)) {
    NEEDS.add_cpu(read_sysreg!("midr_el1"), tell);
}

/// Walks of stage 1 are held while its registers and stage 2 are changed.
#[inline]
pub(super) fn must_hold_walks() -> bool {
    NEEDS.hold_walks()
}

/// Behind the DSB that completes an invalidation of TLBs: on CPUs where that does not yet mean that all accesses by the old
/// translations are complete, a second invalidation, of anything, and its DSB mean it (CVE-2025-10263).
#[inline]
pub fn complete_tlbi() {
    if NEEDS.repeat_tlbi() {
        // SAFETY: dropping a cached translation of EL2, of its first page, changes none.
        unsafe { core::arch::asm!("tlbi vale2is, xzr", options(nostack, preserves_flags)) };
        dsb();
    }
}
