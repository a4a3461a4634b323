//! A machine on the host: each test thread has one of its own.

/// Lets another thread run.
pub fn relax() {
    std::thread::yield_now();
}

/// Writes cached data of a range of machine memory back to memory itself. The host's memory needs no such thing.
pub fn clean_to_memory(_from: crate::types::Pa, _bytes: u64) {}
