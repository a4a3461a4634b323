//! RAM for the host: memory that stands for machine frames in tests and in `arch/fake`.

use core::cell::RefCell;
use std::sync::Mutex;

use super::frames::{FrameRange, Frames, Scrub, Storage, storage_needed};
use super::page::Page;
use super::table::{RootPages, TableList, TablePage};
use xenolith_core::types::{Mfn, PAGE_SIZE, Pa};
use xenolith_hw::atomic::AtomicU64;

#[repr(C, align(4096))]
#[derive(Clone)]
struct HostPage([u8; PAGE_SIZE as usize]);

/// `pages` neighbouring frames, the first aligned to 2^order frames, filled with `fill`. They live until the process ends.
fn leak(pages: u64, order: u8, fill: u8) -> FrameRange {
    let extra = 1 << order;
    let memory = vec![HostPage([fill; PAGE_SIZE as usize]); (pages + extra) as usize].leak();
    let first = Pa(memory.as_mut_ptr().expose_provenance() as u64).frame();
    let range = FrameRange { first: Mfn(first.0.next_multiple_of(extra)), pages };
    LEAKED.lock().expect("no holder of the lock panics").push(range);
    range
}

/// All frames that this module made.
static LEAKED: Mutex<Vec<FrameRange>> = Mutex::new(Vec::new());

/// A frame that this module made, as a device or a table walk of the machine would find it by its number.
pub fn at(mfn: Mfn) -> Option<Page> {
    let known = LEAKED.lock().ok()?.iter().any(|range| range.contains(mfn));
    // SAFETY: leaked memory stays.
    known.then(|| unsafe { Page::new(mfn) })
}

/// A frame full of zeroes that is nobody's.
pub fn page() -> Page {
    // SAFETY: leaked memory of its own.
    unsafe { Page::new(leak(1, 0, 0).first) }
}

/// `pages` frames for tables. Their content is not zero, as that of a machine's frames is not.
pub fn tables(pages: u64) -> TableList {
    let range = leak(pages, 0, 0xa5);
    let mut list = TableList::default();
    for number in range.first.0..range.end() {
        // SAFETY: leaked memory, of which each frame is wrapped once.
        list.push(unsafe { TablePage::new(Mfn(number)) });
    }
    list
}

/// Frames for a root table.
pub fn root(order: u8) -> RootPages {
    // SAFETY: leaked memory of its own, aligned as asked for.
    unsafe { RootPages::new(leak(1 << order, order, 0xa5).first, order) }
}

/// A machine with `pages` frames of RAM in one bank, aligned to 2 MiB, all free and full of old data.
pub fn frames(pages: u64, scrub: &'static dyn Scrub) -> Frames {
    let bank = leak(pages, 9, 0xa5);
    let storage = storage(&[bank]);
    // SAFETY: leaked memory of its own.
    unsafe { Frames::new(&[bank], &[], storage, scrub) }.expect("the storage has the size asked for")
}

/// RAM that goes back when the [`Frames`] that were made of it are dropped, with the storage for their tables: what many
/// machines use, one after the other.
struct Loan(Parts);

#[derive(Clone, Copy)]
struct Parts {
    bank: FrameRange,
    bitmaps: *mut [u64],
    table: *mut [AtomicU64],
}

// SAFETY: the pointers are to leaked memory, and nobody goes through them but the one who borrows the loan anew.
unsafe impl Send for Loan {}
// SAFETY: as above; a shared loan has no operation.
unsafe impl Sync for Loan {}

thread_local! {
    static RETURNED: RefCell<Vec<Parts>> = const { RefCell::new(Vec::new()) };
}

/// A machine as [`frames`] makes it, whose memory the thread uses again once the frames are dropped.
pub fn borrowed_frames(pages: u64, scrub: &'static dyn Scrub) -> Frames {
    let returned = RETURNED.with_borrow_mut(|returned| {
        let index = returned.iter().position(|parts| parts.bank.pages == pages)?;
        Some(returned.swap_remove(index))
    });
    let parts = returned.unwrap_or_else(|| {
        let bank = leak(pages, 9, 0xa5);
        let Storage { bitmaps, table } = storage(&[bank]);
        Parts { bank, bitmaps: core::ptr::from_mut(bitmaps), table: core::ptr::from_mut(table) }
    });
    // SAFETY: leaked memory. The frames that had it before are gone: a loan comes back when they are dropped.
    let storage = unsafe { Storage { bitmaps: &mut *parts.bitmaps, table: &mut *parts.table } };
    // SAFETY: leaked memory of its own, by the same rule.
    let frames = unsafe { Frames::new(&[parts.bank], &[], storage, scrub) };
    let mut frames = frames.expect("the storage has the size asked for");
    frames.loan = Some(Box::new(Loan(parts)));
    frames
}

impl Drop for Loan {
    fn drop(&mut self) {
        // At the end of a thread nobody borrows any more, and the memory stays leaked.
        let _ = RETURNED.try_with(|returned| returned.borrow_mut().push(self.0));
    }
}

/// Memory for the tables of `banks`.
pub fn storage(banks: &[FrameRange]) -> Storage {
    let needed = storage_needed(banks);
    let table: Vec<AtomicU64> = (0..needed.table_words).map(|_| AtomicU64::new(u64::MAX)).collect();
    Storage { bitmaps: vec![u64::MAX; needed.bitmap_words].leak(), table: table.leak() }
}
