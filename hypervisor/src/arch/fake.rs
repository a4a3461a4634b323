//! A machine on the host: each test thread has one of its own.

/// Lets another thread run.
pub fn relax() {
    std::thread::yield_now();
}
