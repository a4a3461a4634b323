//! Instruction caches (Arm ARM, IC).

use xenolith_hw::{dsb, isb};

/// Makes instructions written to memory visible to all CPUs' fetches.
pub fn sync_instructions() {
    dsb();
    // SAFETY: dropping instruction cache lines changes no value.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    dsb();
    isb();
}
