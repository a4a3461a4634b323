//! What is done about errata of the CPUs that there are ([`xenolith_host::errata`]).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xenolith_host::errata::{self, ERRATA, Erratum, Remedy};
use xenolith_hw::dsb;

/// Some CPU needs invalidations of TLBs to be repeated, whichever CPU makes them.
static REPEAT_TLBI: AtomicBool = AtomicBool::new(false);
/// The errata of the table that some CPU has, a bit each.
static FOUND: AtomicU64 = AtomicU64::new(0);
const _: () = assert!(ERRATA.len() <= u64::BITS as usize);

/// Looks up the errata of the calling CPU, before it runs a guest. `tell` hears of each from the first CPU that has it.
pub fn init_cpu(tell: impl Fn(&Erratum)) {
    for (index, erratum) in errata::of(read_sysreg!("midr_el1")) {
        let bit = 1_u64.unbounded_shl(index as u32);
        if FOUND.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            continue;
        }
        if erratum.remedy == Remedy::RepeatTlbi {
            REPEAT_TLBI.store(true, Ordering::Relaxed);
        }
        tell(erratum);
    }
}

/// Behind the DSB that completes an invalidation of TLBs: on CPUs where that does not yet mean that all accesses by the old
/// translations are complete, a second invalidation, of anything, and its DSB mean it (CVE-2025-10263).
#[inline]
pub fn complete_tlbi() {
    // Relaxed: the CPU that set it has run no guest before, so that no translation of one is in its TLBs.
    if REPEAT_TLBI.load(Ordering::Relaxed) {
        // SAFETY: dropping a cached translation of EL2, of its first page, changes none.
        unsafe { core::arch::asm!("tlbi vale2is, xzr", options(nostack, preserves_flags)) };
        dsb();
    }
}
