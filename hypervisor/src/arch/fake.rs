//! A machine on the host: each test thread has one of its own.

/// Lets another thread run.
pub fn relax() {
    std::thread::yield_now();
}

/// Writes the range back to memory, so that a guest whose caches are off sees it. The host's memory needs no such thing.
pub fn clean_to_memory(_start: crate::types::Pa, _bytes: u64) {}
