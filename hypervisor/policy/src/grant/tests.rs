//! Grants as domains use them, and as they should not.

mod history;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xenolith_abi::Errno;
use xenolith_abi::grant::{CopySide, EntryV1, GrantCopy, GrantStatus, UnmapGrantRef, entry};
use zerocopy::FromZeros;

use self::world::{TABLE_FRAMES, World};
use super::*;
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

const OKAY: i16 = 0;
const RW: Rights = Rights::ReadWrite;
const RO: Rights = Rights::ReadOnly;

#[test]
fn the_frame_of_the_first_use_serves_the_later_ones() {
    let world = World::new();
    world.permit(0, 8, 1, 2);
    let first = world.map(1, 0, 8, 50, RO);
    assert_eq!(first.status, OKAY);
    world.permit(0, 8, 1, 1);
    let second = world.map(1, 0, 8, 51, RO);
    let third = world.map(1, 0, 8, 52, RW);
    assert_eq!((second.status, third.status), (OKAY, OKAY));
    assert_eq!([second.dev_bus_addr, third.dev_bus_addr], [first.dev_bus_addr; 2]);
    for (op, gfn) in [(first, 50), (second, 51), (third, 52)] {
        assert_eq!(world.unmap(1, op.handle, gfn), OKAY);
    }
    assert_ne!(world.map(1, 0, 8, 50, RO).dev_bus_addr, first.dev_bus_addr);
    world.end(&[0, 1, 2]);
}

#[test]
fn marks_stand_while_the_frame_is_in_use() {
    let world = World::new();
    world.permit(0, 3, 1, 0);
    let marks = || world.read_entry(0, 3).flags & (entry::READING | entry::WRITING);
    let reader = world.map(1, 0, 3, 50, RO);
    assert_eq!(marks(), entry::READING);
    let writer = world.map(1, 0, 3, 51, RW);
    assert_eq!(marks(), entry::READING | entry::WRITING);
    world.unmap(1, writer.handle, 51);
    assert_eq!(marks(), entry::READING);
    world.unmap(1, reader.handle, 50);
    assert_eq!(marks(), 0);
    world.end(&[1, 0, 2]);
}

#[test]
fn a_handle_is_good_for_one_unmap_at_its_own_address() {
    let world = World::new();
    world.permit(0, 0, 1, 0);
    let op = world.map(1, 0, 0, 50, RW);
    assert_eq!(world.unmap(1, op.handle, 51), GrantStatus::GeneralError.number());
    assert_eq!(world.unmap(2, op.handle, 50), GrantStatus::BadHandle.number());
    let mut nothing = UnmapGrantRef { handle: op.handle, ..FromZeros::new_zeroed() };
    unmap(&world.view(1), &mut nothing);
    assert_eq!(nothing.status, OKAY);
    assert!(world.domain(1).mapped.borrow().contains_key(&50), "without an address the mapping stays");
    assert_eq!(world.unmap(1, op.handle, 50), OKAY);
    assert_eq!(world.unmap(1, op.handle, 50), GrantStatus::BadHandle.number());
    world.end(&[0, 1, 2]);
}

#[test]
fn a_mapping_can_be_taken_away_after_its_granter_died() {
    let world = World::new();
    world.permit(0, 5, 1, 2);
    let op = world.map(1, 0, 5, 50, RW);
    world.kill(0, 1);
    assert_eq!(world.domain(0).table.borrow().in_use(), 1, "the domain has to be kept");
    assert_eq!(world.map(1, 0, 5, 51, RW).status, GrantStatus::BadDomain.number());
    assert_eq!(world.unmap(1, op.handle, 50), OKAY);
    assert_eq!(world.domain(0).table.borrow().in_use(), 0);
    world.end(&[1, 2]);
}

#[test]
fn handles_run_out_without_a_trace() {
    let world = World::new();
    world.permit(0, 1, 1, 0);
    let granted =
        (0..).map(|_| world.map(1, 0, 1, 50, RO).status).take_while(|&status| status == OKAY).count();
    assert_eq!(granted, 256);
    assert_eq!(world.map(1, 0, 1, 50, RO).status, GrantStatus::NoSpace.number());
    assert_eq!(world.domain(0).table.borrow().uses(1), (256, 0));
    world.end(&[0, 1, 2]);
}

#[test]
fn bytes_are_copied_in_both_directions_and_nowhere_else() {
    let world = World::new();
    world.permit(0, 2, 1, 1);
    let granted = world.domain(0).ram.borrow()[1].unwrap();
    let own = world.domain(1).ram.borrow()[0].unwrap();
    let pattern: Vec<u8> = (0..1000u16).map(|byte| byte as u8).collect();
    assert!(granted.write(3000, &pattern));
    let by_reference = CopySide { frame_or_reference: 2, domid: DomId(0), offset: 3000, pad: 0 };
    let by_frame = CopySide { frame_or_reference: 0, domid: DomId::SELF, offset: 10, pad: 0 };
    let mut op =
        GrantCopy { source: by_reference, dest: by_frame, len: 1000, flags: 1, ..FromZeros::new_zeroed() };
    copy(&world.view(1), &mut op);
    assert_eq!(op.status, OKAY);
    let mut found = [0xff; 1020];
    assert!(own.read(0, &mut found));
    assert_eq!(found[..10], [0; 10]);
    assert_eq!(found[10..1010], pattern);
    assert_eq!(found[1010..], [0; 10]);

    let by_reference = CopySide { offset: 4095, ..by_reference };
    let mut op =
        GrantCopy { source: by_frame, dest: by_reference, len: 1, flags: 2, ..FromZeros::new_zeroed() };
    assert!(own.write(10, &[0x5a]));
    copy(&world.view(1), &mut op);
    assert_eq!(op.status, OKAY);
    let mut last = [0; 2];
    assert!(granted.read(4094, &mut last));
    assert_eq!(last, [0, 0x5a]);

    op.len = 2;
    copy(&world.view(1), &mut op);
    assert_eq!(op.status, GrantStatus::BadCopyArgument.number());
    world.write_entry(0, 2, EntryV1 { flags: 5, domid: DomId(1), frame: 1 });
    op.len = 1;
    copy(&world.view(1), &mut op);
    assert_eq!(op.status, GrantStatus::GeneralError.number(), "the entry is for reading");
    world.end(&[0, 1, 2]);
}

/// Ends the other thread, also when this one panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_granter_that_writes_all_the_time_gains_nothing() {
    let world = World::new();
    world.permit(0, 0, 1, 0);
    let word = world.domain(0).table.borrow_mut().frame(0, || None).unwrap().word32(0).unwrap();
    let stopped = AtomicBool::new(false);
    let limit = Instant::now() + Duration::from_secs(60);
    let mut seen = [0; 2];
    std::thread::scope(|scope| {
        let _stop = Stop(&stopped);
        scope.spawn(|| {
            let heads = [1, 1 << 16 | 1, 1 << 16 | 5, 2 << 16 | 1, 0];
            heads
                .iter()
                .cycle()
                .take_while(|_| !stopped.load(Ordering::Relaxed))
                .for_each(|&head| word.store(head));
        });
        while seen.iter().any(|&count| count < 1000) {
            let op = world.map(1, 0, 0, 50, if seen[0] % 2 == 0 { RW } else { RO });
            let status = GrantStatus::from_number(op.status);
            assert!(matches!(status, Some(GrantStatus::Okay | GrantStatus::GeneralError)), "{status:?}");
            seen[usize::from(op.status == OKAY)] += 1;
            if op.status == OKAY {
                assert_eq!(world.unmap(1, op.handle, 50), OKAY);
            }
            assert!(Instant::now() < limit, "refused and granted: {seen:?}");
        }
    });
    world.end(&[0, 1, 2]);
}

#[test]
fn an_entry_that_changes_while_its_frame_is_looked_up_changes_nothing() {
    let page_of_table = page();
    let mut table = GrantTable::new(1).unwrap();
    assert!(table.frame(0, || Some(Plain(page_of_table))).is_ok());
    let word = page_of_table.word32(0).unwrap();
    word.store(1 << 16 | 1);
    let ram = page();
    let revoke = |_: Gfn, _: Rights| {
        word.store(0);
        Some(Resolved { frame: Plain(ram), writable: true })
    };
    assert_eq!(table.acquire(0, DomId(1), RW, revoke), Ok(ram));
    assert_eq!(table.acquire(0, DomId(1), RO, |_, _| None), Ok(ram), "in use, whatever the entry says");
    assert_eq!(table.acquire(0, DomId(2), RO, |_, _| None), Err(GrantStatus::GeneralError));
    assert!(table.release(0, RW).is_none());
    assert_eq!(
        table.acquire(0, DomId(1), RW, |_, _| None),
        Err(GrantStatus::GeneralError),
        "to write needs a look"
    );
    assert_eq!(table.uses(0), (1, 0));
    assert!(table.release(0, RO).is_some());
    assert!(table.release(0, RO).is_none(), "ended before");
    assert_eq!((table.in_use(), word.load()), (0, 0));
}

struct Plain(Page);

impl SharedFrame for Plain {
    fn page(&self) -> Page {
        self.0
    }
}

#[test]
fn a_table_grows_up_to_its_limit_and_keeps_what_it_got() {
    let mut table = GrantTable::new(4).unwrap();
    assert_eq!(table.size(), (0, 4));
    assert!(table.frame(0, || Some(Plain(page()))).is_ok());
    assert_eq!(table.frame(4, || Some(Plain(page()))), Err(Errno::EINVAL));
    assert_eq!(table.frame(u64::MAX, || Some(Plain(page()))), Err(Errno::EINVAL));
    assert_eq!(
        table.frame(1 << 31, || Some(Plain(page()))),
        Err(Errno::EINVAL),
        "there are no status frames"
    );
    let mut left = 2;
    let scarce = || {
        left -= 1;
        (left >= 0).then(|| Plain(page()))
    };
    assert_eq!(table.frame(3, scarce), Err(Errno::ENOMEM));
    assert_eq!(table.size(), (3, 4));
    assert_eq!(table.setup(4, || Some(Plain(page()))), GrantStatus::Okay);
    assert_eq!(table.setup(5, || Some(Plain(page()))), GrantStatus::GeneralError);
    table.close();
    assert_eq!((0..).map_while(|_| table.take_frame()).count(), 4);
    assert_eq!(table.frame(0, || Some(Plain(page()))), Err(Errno::EINVAL));
}

#[test]
fn a_frame_of_the_table_is_mapped_in_one_place() {
    let mut table = GrantTable::new(2).unwrap();
    assert!(table.frame(1, || Some(Plain(page()))).is_ok());
    table.set_gfn(1, Gfn(7));
    table.set_gfn(9, Gfn(8));
    assert_eq!([table.gfn_of(0), table.gfn_of(1), table.gfn_of(9)], [None, Some(Gfn(7)), None]);
    table.forget_gfns(Gfn(5), 2);
    table.forget_gfns(Gfn(8), u64::MAX);
    assert_eq!(table.gfn_of(1), Some(Gfn(7)));
    table.forget_gfns(Gfn(6), 2);
    assert_eq!(table.gfn_of(1), None);
}

#[test]
fn who_has_been_lent_a_frame_is_found_in_bounded_steps() {
    let world = World::new();
    world.permit(0, 600, 1, 2);
    let op = world.map(1, 0, 600, 50, RO);
    let mfn = Mfn(op.dev_bus_addr >> 12);
    let table = world.domain(0).table.borrow();
    assert_eq!(table.lends(mfn, DomId(1), 0, 600), Lent::Unknown(600));
    assert_eq!(table.lends(mfn, DomId(1), 600, 1), Lent::Yes);
    assert_eq!(table.lends(mfn, DomId(2), 0, u32::MAX), Lent::No);
    assert_eq!(table.lends(Mfn(0), DomId(1), 512 * TABLE_FRAMES, 1), Lent::No);
    drop(table);
    world.end(&[1, 0, 2]);
}
