//! Cache maintenance by address (Arm ARM, DC and IC instructions).

use crate::types::Pa;

use super::sysreg::{dsb, isb};

fn line() -> u64 {
    4 << (read_sysreg!("ctr_el0") >> 16 & 0xf)
}

/// Writes the range back to memory and drops it from the caches, so that a guest whose caches are off sees it
/// (point of coherency). The range must be RAM mapped at EL2.
pub fn clean_to_memory(start: Pa, bytes: u64) {
    let line = line();
    let mut address = start.0 & !(line - 1);
    let end = start.0.saturating_add(bytes);
    while address < end {
        // SAFETY: cleaning a line changes no value that the program can see.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address = address.saturating_add(line);
    }
    dsb();
}

/// Makes instructions written to memory visible to all CPUs' fetches.
pub fn sync_instructions() {
    dsb();
    // SAFETY: dropping instruction cache lines changes no value.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    dsb();
    isb();
}
