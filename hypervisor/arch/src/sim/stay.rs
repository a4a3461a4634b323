//! How long a CPU works at EL2 before it looks whether an interrupt waits, in steps ([`xenolith_hw::steps`]).

use std::cell::Cell;

use xenolith_hw::steps;

thread_local! {
    /// The longest of the CPUs that the thread has played.
    static LONGEST: Cell<u64> = const { Cell::new(0) };
}

/// The CPU comes to EL2.
pub fn begin() {
    steps::take();
}

/// The CPU comes to EL2, works and leaves: what comes of it, and the most steps of it without a look.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = take_longest();
    begin();
    let result = work();
    look();
    let longest = LONGEST.get();
    LONGEST.set(longest.max(before));
    (result, longest)
}

/// It looks whether an interrupt waits, or leaves.
pub fn look() {
    LONGEST.set(LONGEST.get().max(steps::take()));
}

/// The most steps without a look, since this was last asked.
pub fn take_longest() -> u64 {
    LONGEST.take()
}
