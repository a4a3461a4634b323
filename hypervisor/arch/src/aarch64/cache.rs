//! Cache maintenance by address (Arm ARM, DC and IC instructions).

use crate::types::{PAGE_SIZE, Pa};

use super::sysreg::{dsb, isb};

fn line() -> u64 {
    4 << (read_sysreg!("ctr_el0") >> 16 & 0xf)
}

/// Writes the range back to memory and drops it from the caches, so that a guest whose caches are off sees it
/// (point of coherency). The range must be RAM mapped at EL2.
pub fn clean_to_memory(start: Pa, bytes: u64) {
    let line = line();
    let mut address = start.0 & !(line - 1);
    let bytes = bytes.saturating_add(start.0 - address);
    for _ in 0..bytes.div_ceil(line) {
        // SAFETY: cleaning a line changes no value that the program can see.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address = address.wrapping_add(line);
    }
    dsb();
}

/// Fills a page with zeroes, by whole cache lines where the CPU can (Arm ARM, DC ZVA and DCZID_EL0).
///
/// # Safety
/// The page is RAM that is mapped at EL2, and nobody holds a reference into it.
pub unsafe fn zero_page(start: Pa) {
    let zva = read_sysreg!("dczid_el0");
    let block = 4_u64 << (zva & 0xf);
    let prohibited = zva & 1 << 4 != 0;
    if prohibited || block > PAGE_SIZE {
        // SAFETY: by the caller's claim the page may be written.
        return unsafe { core::ptr::write_bytes(start.0 as *mut u8, 0, PAGE_SIZE as usize) };
    }
    let mut address = start.0;
    let end = start.0 | (PAGE_SIZE - 1);
    while address < end {
        // SAFETY: the block lies in the page, which by the caller's claim may be written.
        unsafe { core::arch::asm!("dc zva, {}", in(reg) address, options(nostack, preserves_flags)) };
        address = address.wrapping_add(block);
    }
}

/// Makes instructions written to memory visible to all CPUs' fetches.
pub fn sync_instructions() {
    dsb();
    // SAFETY: dropping instruction cache lines changes no value.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    dsb();
    isb();
}
