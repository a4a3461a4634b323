//! A machine on the host: each test thread has one of its own.

/// Lets another thread run.
pub fn relax() {
    std::thread::yield_now();
}

/// Writes the range back to memory, so that a guest whose caches are off sees it. The host's memory needs no such thing.
pub fn clean_to_memory(_start: crate::types::Pa, _bytes: u64) {}

/// Fills a page with zeroes.
///
/// # Safety
/// The page is memory of the process, and nobody holds a reference into it.
pub unsafe fn zero_page(start: crate::types::Pa) {
    let page = core::ptr::with_exposed_provenance_mut::<u8>(start.0 as usize);
    // SAFETY: by the caller's claim.
    unsafe { core::ptr::write_bytes(page, 0, crate::types::PAGE_SIZE as usize) };
}
