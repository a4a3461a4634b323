//! The heap of the hypervisor's own tests, which a test can make as small as it likes, for its own thread; or which refuses
//! some of the allocations, and the frame table with it, as if another CPU had just taken what there was.
//!
//! What the model of the machine allocates stands for hardware, and is not counted.

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

use xenolith_arch::sim::plays_hardware;

/// What a thread may allocate.
#[derive(Clone, Copy)]
struct Limit {
    /// The most bytes in use at a time, beside those that were before.
    most: isize,
    /// Bytes in use.
    used: isize,
    /// What the first refused allocation would have made the most.
    lacked: Option<isize>,
}

/// Which allocations of a thread are refused, of those that the hypervisor makes ([`inside`]).
#[derive(Clone, Copy)]
pub enum Refuse {
    /// One: after so many.
    Once(u64),
    /// Always the one after so many.
    Every(u64),
    /// None.
    Never,
}

#[derive(Clone, Copy)]
struct Refusals {
    which: Refuse,
    inside: bool,
    asked: u64,
    refused: u64,
}

thread_local! {
    static REFUSALS: Cell<Refusals> =
        const { Cell::new(Refusals { which: Refuse::Never, inside: false, asked: 0, refused: 0 }) };
    static LIMIT: Cell<Option<Limit>> = const { Cell::new(None) };
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

fn size_of(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

/// Counts bytes that are to be used. Whether there are so many.
fn take(bytes: isize) -> bool {
    // At the end of a thread there is no limit.
    let change = |cell: &Cell<Option<Limit>>| {
        if plays_hardware() {
            return true;
        }
        let Some(mut limit) = cell.get() else { return true };
        let wanted = limit.used.saturating_add(bytes);
        let fits = wanted <= limit.most;
        if fits {
            limit.used = wanted;
        } else {
            limit.lacked = limit.lacked.or(Some(wanted));
        }
        cell.set(Some(limit));
        fits
    };
    LIMIT.try_with(change).unwrap_or(true)
}

/// Whether an allocation is one of those that are refused.
fn is_refused() -> bool {
    // A fault that was found is to be told.
    if plays_hardware() || std::thread::panicking() {
        return false;
    }
    let ask = |cell: &Cell<Refusals>| {
        let mut refusals = cell.get();
        if !refusals.inside {
            return false;
        }
        let refused = match refusals.which {
            Refuse::Once(after) => refusals.asked == after,
            Refuse::Every(count) => refusals.asked % (count + 1) == count,
            Refuse::Never => false,
        };
        refusals.asked += 1;
        refusals.refused += u64::from(refused);
        cell.set(refusals);
        refused
    };
    REFUSALS.try_with(ask).unwrap_or(false)
}

/// Says which allocations of the thread are refused from now on, of the heap and of frames alike.
pub fn refuse(which: Refuse) {
    xenolith_memory::refusal::refuse_when(Some(is_refused));
    REFUSALS.set(Refusals { which, inside: false, asked: 0, refused: 0 });
}

/// How many allocations there were since then, and how many of them were refused.
pub fn refusals() -> (u64, u64) {
    let refusals = REFUSALS.get();
    (refusals.asked, refusals.refused)
}

/// Does what the hypervisor does: allocations of the test itself are not refused.
pub fn inside<T>(act: impl FnOnce() -> T) -> T {
    /// Ends it, also when `act` unwinds.
    struct Inside(bool);
    impl Drop for Inside {
        fn drop(&mut self) {
            set_inside(self.0);
        }
    }
    let _inside = Inside(set_inside(true));
    act()
}

fn set_inside(inside: bool) -> bool {
    let before = REFUSALS.get();
    REFUSALS.set(Refusals { inside, ..before });
    before.inside
}

fn give_back(bytes: isize) {
    if plays_hardware() {
        return;
    }
    let _ = LIMIT.try_with(|cell| {
        cell.set(cell.get().map(|limit| Limit { used: limit.used.saturating_sub(bytes), ..limit }));
    });
}

// SAFETY: memory comes from the system's allocator, with the layout that was asked for, or not at all.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused() || !take(size_of(layout)) {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's claim.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give_back(size_of(layout));
        // SAFETY: the caller's claim: the memory came from `alloc`, which had it from there.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new piece are in use together.
        if is_refused() || !take(isize::try_from(size).unwrap_or(isize::MAX)) {
            return core::ptr::null_mut();
        }
        give_back(size_of(layout));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Does something with so many bytes of heap at most. If they did not do: how many the first allocation that was refused
/// needed.
pub fn with_heap<T>(bytes: usize, act: impl FnOnce() -> T) -> (T, Option<usize>) {
    let most = isize::try_from(bytes).unwrap_or(isize::MAX);
    LIMIT.set(Some(Limit { most, used: 0, lacked: None }));
    let result = act();
    let lacked = LIMIT.take().and_then(|limit| limit.lacked);
    (result, lacked.and_then(|bytes| usize::try_from(bytes).ok()))
}
