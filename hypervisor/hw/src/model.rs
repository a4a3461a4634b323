//! Concurrency that is searched: a small program of a few threads is run again and again, until every order of its steps that
//! the memory model permits has been seen (`loom`).
//!
//! Without the feature `loom` no model ever runs, and what is here costs nothing.

#[cfg(feature = "loom")]
mod explored;
#[cfg(feature = "loom")]
pub use explored::{Fences, Turn, Word, cell, explore, fences, is_running, note_copied, thread, word};

#[cfg(not(feature = "loom"))]
mod never {
    /// Whether a model runs.
    #[inline(always)]
    pub fn is_running() -> bool {
        false
    }

    /// Bytes were copied to where others may have words.
    #[inline(always)]
    pub fn note_copied(_to: *const u8, _bytes: usize) {}

    /// What the holder of a lock has in a model.
    #[derive(Debug)]
    pub struct Turn;

    impl Turn {
        /// Nothing but a model waits here.
        #[inline(always)]
        pub fn wait_for<L>(_lock: &L) -> Self {
            Turn
        }

        /// Nothing but a model is refused.
        #[inline(always)]
        pub fn try_take<L>(_lock: &L) -> Option<Self> {
            Some(Turn)
        }
    }
}

#[cfg(not(feature = "loom"))]
pub use never::{Turn, is_running, note_copied};
