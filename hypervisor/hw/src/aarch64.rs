//! AArch64: CSDB, DC CIVAC, DC ZVA, IC IALLUIS (Arm ARM C5, C6).

use crate::{PAGE_SIZE, dsb, isb};

/// The index if it is below `len`, else 0, computed without a branch; nor does the CPU go on with a guess of it (Arm ARM,
/// CSDB).
#[inline(always)]
pub fn index_nospec(index: usize, len: usize) -> usize {
    let confined;
    // SAFETY: arithmetic on registers.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "csel {confined}, {index}, xzr, lo",
            "csdb",
            index = in(reg) index,
            len = in(reg) len,
            confined = lateout(reg) confined,
            options(pure, nomem, nostack),
        );
    }
    confined
}

fn line() -> u64 {
    4 << (read_sysreg!("ctr_el0") >> 16 & 0xf)
}

/// Writes `bytes` bytes from the address `start` back to memory and drops them from the caches, so that a guest whose caches
/// are off sees them (point of coherency). The range must be RAM mapped at its own address.
pub fn clean_to_memory(start: u64, bytes: u64) {
    let line = line();
    let mut address = start & !(line - 1);
    let bytes = bytes.saturating_add(start - address);
    for _ in 0..bytes.div_ceil(line) {
        // SAFETY: cleaning a line changes no value that the program can see.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address = address.wrapping_add(line);
    }
    dsb();
}

/// CTR_EL0.DIC: instruction caches follow what data caches have written.
const DIC: u64 = 1 << 29;

/// Makes instructions written to memory visible to all CPUs' fetches, and forgets those that stood there before. All of them:
/// where a cache is indexed by virtual addresses, an address names only some of the places of a page.
pub fn sync_instructions() {
    dsb();
    if read_sysreg!("ctr_el0") & DIC == 0 {
        // SAFETY: dropping instruction cache lines changes no value.
        unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
        dsb();
    }
    isb();
}

/// Fills the page at the address `start` with zeroes, by whole cache lines where the CPU can (Arm ARM, DC ZVA and DCZID_EL0).
///
/// # Safety
/// The page is RAM that is mapped at its own address, and nobody holds a reference into it.
pub unsafe fn zero_page(start: u64) {
    let zva = read_sysreg!("dczid_el0");
    let block = 4_u64 << (zva & 0xf);
    let prohibited = zva & 1 << 4 != 0;
    if prohibited || block > PAGE_SIZE {
        let page = core::ptr::with_exposed_provenance_mut::<u8>(start as usize);
        // SAFETY: by the caller's claim the page may be written.
        return unsafe { core::ptr::write_bytes(page, 0, PAGE_SIZE as usize) };
    }
    let mut address = start;
    let end = start | (PAGE_SIZE - 1);
    while address < end {
        // SAFETY: the block lies in the page, which by the caller's claim may be written.
        unsafe { core::arch::asm!("dc zva, {}", in(reg) address, options(nostack, preserves_flags)) };
        address = address.wrapping_add(block);
    }
}
