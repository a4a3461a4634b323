//! The same with no instruction of a CPU of its own.

use crate::{PAGE_SIZE, steps};

/// The index if it is below `len`, else 0.
#[inline(always)]
pub fn index_nospec(index: usize, len: usize) -> usize {
    if index < len { index } else { 0 }
}

/// Writes a range back to memory. Where caches are coherent for every observer, nothing is to be done.
pub fn clean_to_memory(_start: u64, bytes: u64) {
    steps::count_bytes(bytes);
}

/// Fills the page at the address `start` with zeroes.
///
/// # Safety
/// The page is memory at its own address, its provenance exposed, and nobody holds a reference into it.
pub unsafe fn zero_page(start: u64) {
    steps::count_bytes(PAGE_SIZE);
    let page = core::ptr::with_exposed_provenance_mut::<u8>(start as usize);
    // SAFETY: by the caller's claim.
    unsafe { core::ptr::write_bytes(page, 0, PAGE_SIZE as usize) };
}
