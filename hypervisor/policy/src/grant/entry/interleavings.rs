//! An entry between a granter that keeps the rules of `public/grant_table.h` and the hypervisor that maps for another domain.

use std::sync::Arc;

use xenolith_hw::model::{cell::UnsafeCell, explore, thread};
use xenolith_memory::arena;

use super::*;

const BY: DomId = DomId(5);
const FRAME: u32 = 0x77;

fn head() -> u32 {
    u32::from(entry::PERMIT_ACCESS) | u32::from(BY.0) << 16
}

/// The granter publishes the entry, and takes it back once nobody uses it: in one step with the look at the marks.
fn grant(page: Page, content: &UnsafeCell<u32>) {
    let (head_word, frame_word) = (page.word32(0).unwrap(), page.word32(4).unwrap());
    frame_word.store(FRAME);
    head_word.store(head());
    let marks = u32::from(entry::READING | entry::WRITING);
    let found = head_word.update(|head| (head & marks == 0).then_some(0)).unwrap();
    if found & marks == 0 {
        // The frame is its own again.
        content.with_mut(|_| ());
    }
}

#[test]
fn a_frame_is_used_by_others_only_between_mark_and_unmark() {
    let page = arena::page();
    let runs = explore(None, move || {
        page.zero();
        let entry = SharedEntry::of(page, 0).unwrap();
        assert_eq!((entry.head.load(), entry.frame.load()), (0, 0));
        let content = Arc::new(UnsafeCell::new(0));
        let own = content.clone();
        let granter = thread::spawn(move || grant(page, &own));
        if let Ok(frame) = entry.mark(BY, Rights::ReadWrite) {
            assert_eq!(frame, Gfn(FRAME.into()), "the frame that was published with the flags");
            content.with_mut(|_| ());
            entry.unmark(entry::READING | entry::WRITING);
        }
        granter.join().unwrap();
    });
    assert!(runs > 10);
}

/// Of a domain that may only read and one that may write, each gets what the flags said when it was marked.
#[test]
fn flags_and_domain_are_judged_in_one_step() {
    let page = arena::page();
    let runs = explore(None, move || {
        page.zero();
        let shared = SharedEntry::of(page, 0).unwrap();
        let read_only = head() | u32::from(entry::READ_ONLY);
        shared.head.store(read_only);
        assert_eq!(shared.frame.load(), 0);
        // The granter gives the writable grant to another domain, and never one to the first.
        let granter = thread::spawn(move || {
            let other = u32::from(entry::PERMIT_ACCESS) | u32::from(BY.0 + 1) << 16;
            page.word32(0).unwrap().update(|head| (head == read_only).then_some(other)).unwrap();
        });
        assert_eq!(shared.mark(BY, Rights::ReadWrite), Err(GrantStatus::GeneralError));
        granter.join().unwrap();
    });
    assert!(runs > 1, "{runs}");
}
