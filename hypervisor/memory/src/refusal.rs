//! Allocations of frames that fail at a test's wish, on the host.

use core::cell::Cell;

thread_local! {
    static REFUSES: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// Has `refuses` say of each of the thread's allocations of frames whether there are none: but those that were promised.
pub fn refuse_when(refuses: Option<fn() -> bool>) {
    REFUSES.set(refuses);
}

pub(crate) fn is_refused() -> bool {
    REFUSES.get().is_some_and(|refuses| refuses())
}
