//! An area between the hypervisor that writes it and a guest that reads it, as Linux does (`arch/arm64` steal time and
//! `xen_get_runstate_snapshot`).

use xenolith_hw::model::{explore, thread};
use xenolith_memory::arena;

use super::*;

const AT: usize = 64;

fn info(generation: u64) -> RunStateInfo {
    RunStateInfo {
        state: generation as u32,
        pad: 0,
        state_entry_time: generation * 100,
        time: [generation, generation + 10, generation + 20, generation + 30],
    }
}

/// What a guest has read, if nobody wrote meanwhile as far as it can tell.
fn read(page: Page) -> Option<(u64, [u64; 2])> {
    let word = |offset: usize| page.word64(AT + offset).unwrap().load();
    let entry = offset_of!(RunStateInfo, state_entry_time);
    let time = offset_of!(RunStateInfo, time);
    let before = word(entry);
    let read = (word(offset_of!(RunStateInfo, state)), [word(time), word(time + 24)]);
    (word(entry) == before && before & RUNSTATE_UPDATE == 0).then_some(read)
}

#[test]
fn a_guest_reads_no_mixture() {
    let page = arena::page();
    let runs = explore(Some(2), move || {
        page.zero();
        store(page, AT, &info(1), true);
        let writer = thread::spawn(move || store(page, AT, &info(2), true));
        if let Some((state, [first, last])) = read(page) {
            assert_eq!((first, last), (state, state + 30), "a mixture of two states");
        }
        writer.join().unwrap();
        assert_eq!(read(page), Some((2, [2, 32])));
    });
    assert!(runs > 10);
}
