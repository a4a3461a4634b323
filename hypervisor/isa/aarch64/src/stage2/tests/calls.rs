//! Each call on its own: what it answers, what it flushes, what it leaves behind.

use super::*;

const RAM: MapKind = MapKind::Ram;
const GIB: u64 = 1 << 18;
const MIB2: u64 = 1 << 9;

#[test]
fn the_root_has_the_size_that_the_geometry_asks_for() {
    let geometry = geometry(40).unwrap();
    let new = |order| P2m::new(geometry, Vmid(1), arena::root(order), arena::tables(1), Recorder::default());
    assert!(new(1).is_some());
    assert!(new(0).is_none());
    assert!(new(2).is_none());
}

#[test]
fn blocks_are_used_where_they_fit() {
    let mut machine = Machine::new(40, 16);
    machine.p2m.map(Gfn(GIB), Mfn(3 * GIB), 2 * GIB, RAM).unwrap();
    assert_eq!(machine.p2m.tables(), 0);
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 77)), Ok(Entry { mfn: Mfn(3 * GIB + 77), kind: RAM, order: 18 }));
    machine.p2m.map(Gfn(5 * GIB + MIB2), Mfn(7 * MIB2), 3 * MIB2 + 1, RAM).unwrap();
    assert_eq!(machine.p2m.tables(), 2);
    assert_eq!(machine.p2m.lookup(Gfn(5 * GIB + MIB2 + 5)).unwrap().order, 9);
    assert_eq!(machine.p2m.lookup(Gfn(5 * GIB + 4 * MIB2)).unwrap().order, 0);
    // Not aligned to each other: single frames.
    machine.p2m.map(Gfn(0), Mfn(1), MIB2, RAM).unwrap();
    assert_eq!(machine.p2m.lookup(Gfn(0)).unwrap().order, 0);
    assert_eq!(machine.events().flushes(), 0);
    assert_eq!(machine.p2m.highest(), Some(Gfn(5 * GIB + 4 * MIB2)));
    machine.tear_down();
}

#[test]
fn arguments_beyond_the_guest_s_addresses_are_errors_everywhere() {
    for bits in [32, 36, 40, 42, 44, 48] {
        let mut machine = Machine::new(bits, 8);
        let end = machine.p2m.geometry().end().0;
        let p2m = &mut machine.p2m;
        // Above the limit, aliasing low frames in the index bits or in the descriptor's address, and wrapping.
        let beyond = [end, end + 1, end | 5, end << 1, 1 << 36, 1 << 52, 1 << 63, u64::MAX];
        for gfn in beyond.map(Gfn) {
            assert_eq!(p2m.map(gfn, Mfn(1), 1, RAM), Err(P2mError::OutOfRange));
            assert_eq!(p2m.map(gfn, Mfn(1), 0, RAM), Err(P2mError::OutOfRange));
            assert_eq!(p2m.unmap(gfn, 1).err(), Some(P2mError::OutOfRange));
            assert_eq!(p2m.edit().unmap(gfn, u64::MAX), Err(P2mError::OutOfRange));
            assert_eq!(p2m.replace(gfn, Mfn(1), RAM), Err(P2mError::OutOfRange));
            assert_eq!(p2m.lookup(gfn), Err(P2mError::OutOfRange));
            assert_eq!(p2m.lookup_for(gfn, P2mAccess::Read), Err(P2mError::OutOfRange));
            assert_eq!(p2m.scan(gfn, 1).err(), Some(P2mError::OutOfRange));
        }
        for pages in [2, end, u64::MAX - end, u64::MAX] {
            let gfn = Gfn(end - 1);
            assert_eq!(p2m.map(gfn, Mfn(1), pages, RAM), Err(P2mError::OutOfRange));
            assert_eq!(p2m.unmap(gfn, pages).err(), Some(P2mError::OutOfRange));
            assert_eq!(p2m.scan(gfn, pages).err(), Some(P2mError::OutOfRange));
        }
        for mfn in [end, 1 << 36, u64::MAX].map(Mfn) {
            assert_eq!(p2m.map(Gfn(0), mfn, 1, RAM), Err(P2mError::OutOfRange));
            assert_eq!(p2m.replace(Gfn(0), mfn, RAM), Err(P2mError::OutOfRange));
        }
        assert_eq!(p2m.map(Gfn(0), Mfn(end - 1), 2, RAM), Err(P2mError::OutOfRange));
        assert_eq!((p2m.tables(), p2m.highest()), (0, None));
        // The last frame itself is good.
        assert_eq!(p2m.map(Gfn(end - 1), Mfn(end - 1), 1, RAM), Ok(()));
        assert_eq!(p2m.lookup(Gfn(end - 1)).unwrap().mfn, Mfn(end - 1));
        assert_eq!(machine.walk(end - 1).unwrap().base, Mfn(end - 1).base());
        machine.tear_down();
    }
}

#[test]
fn a_refused_map_changes_nothing() {
    let mut machine = Machine::new(40, 3);
    machine.p2m.map(Gfn(GIB + 3), Mfn(9), 1, RAM).unwrap();
    let before = machine.all();
    assert_eq!(machine.p2m.map(Gfn(GIB - 5), Mfn(100), 10, RAM), Err(P2mError::Occupied));
    assert_eq!(machine.p2m.map(Gfn(0), Mfn(0), 4 * GIB, RAM), Err(P2mError::Occupied));
    // Two tables more are needed, and there is one.
    assert_eq!(machine.p2m.map(Gfn(2 * GIB), Mfn(100), 10, RAM), Err(P2mError::NoTables));
    assert_eq!(machine.all(), before);
    assert_eq!((machine.p2m.tables(), machine.p2m.pool().list.len()), (2, 1));
    assert_eq!(machine.p2m.highest(), Some(Gfn(GIB + 3)));
    machine.tear_down();
}

/// Advisory 409: a domain that shatters its blocks runs out of its own tables, and its calls fail cleanly.
#[test]
fn shattering_blocks_ends_with_the_domain_s_own_pool() {
    let mut machine = Machine::new(40, 5);
    machine.p2m.map(Gfn(0), Mfn(0), 8 * GIB, RAM).unwrap();
    let mut shattered = 0;
    let error = loop {
        match machine.p2m.unmap(Gfn(shattered * GIB + 1), 1) {
            Ok((removed, 1)) => assert_eq!(removed.len(), 1),
            other => break other.err(),
        }
        shattered += 1;
    };
    assert_eq!((shattered, error), (2, Some(P2mError::NoTables)));
    assert_eq!(machine.p2m.replace(Gfn(5 * GIB), Mfn(7), RAM), Err(P2mError::NoTables));
    assert_eq!(machine.p2m.lookup(Gfn(2 * GIB + 1)).unwrap().order, 18, "what failed changed nothing");
    // Whole blocks can go even now, up to the one that cannot be split.
    let (_, done) = machine.p2m.unmap(Gfn(4 * GIB), 2 * GIB + 1).unwrap();
    assert_eq!(done, 2 * GIB);
    machine.tear_down();
}

#[test]
fn splitting_a_block_breaks_flushes_and_makes_in_that_order() {
    let mut machine = Machine::new(40, 8);
    machine.p2m.map(Gfn(GIB), Mfn(GIB), GIB, RAM).unwrap();
    machine.events();
    let (removed, done) = machine.p2m.unmap(Gfn(GIB + 700), 3).unwrap();
    assert_eq!((removed.as_slice(), done), ([run(GIB + 700, GIB + 700, 3, RAM)].as_slice(), 3));
    let events = machine.events();
    // The recorder asserts that the block is not there while it is flushed.
    assert_eq!(events.by_address, [(vec![Gfn(GIB).base()], Depth::Leaves)]);
    assert_eq!((events.all, events.published), (0, 1));
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 699)).unwrap().order, 0);
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 700)), Err(P2mError::NotMapped));
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 1024)).unwrap().order, 9);
    assert_eq!(machine.p2m.tables(), 2);
    machine.tear_down();
}

#[test]
fn removals_share_one_flush() {
    let mut machine = Machine::new(40, 8);
    // Every other frame, so that no two removals join.
    for frame in 0..40 {
        machine.p2m.map(Gfn(2 * frame), Mfn(1000 + 5 * frame), 1, MapKind::Foreign).unwrap();
    }
    let events = machine.events();
    assert_eq!((events.flushes(), events.published), (0, 40));

    let mut edit = machine.p2m.edit();
    for frame in 0..10 {
        assert_eq!(edit.unmap(Gfn(2 * frame), 1), Ok(1));
    }
    assert_eq!(edit.unmap(Gfn(30_000), 400), Ok(400), "nothing there");
    assert_eq!(edit.finish().len(), 10);
    let events = machine.events();
    assert_eq!((events.by_address.len(), events.all), (1, 0));
    assert_eq!(events.by_address[0].0.len(), 10);
    assert_eq!(events.by_address[0].1, Depth::Leaves);

    // More than are worth naming one by one.
    let (removed, _) = machine.p2m.unmap(Gfn(20), 60).unwrap();
    assert_eq!(removed.len(), 30);
    let events = machine.events();
    assert_eq!((events.by_address.len(), events.all), (0, 1));

    let (removed, _) = machine.p2m.unmap(Gfn(0), 500).unwrap();
    assert_eq!((removed.len(), machine.events().flushes()), (0, 0), "nothing removed, nothing flushed");
    machine.tear_down();
}

#[test]
fn an_edit_that_is_dropped_flushes_too() {
    let mut machine = Machine::new(40, 8);
    machine.p2m.map(Gfn(8), Mfn(8), 1, RAM).unwrap();
    drop({
        let mut edit = machine.p2m.edit();
        edit.unmap(Gfn(8), 1).unwrap();
        edit
    });
    assert_eq!(machine.events().flushes(), 1);
}

#[test]
fn a_table_comes_back_only_after_the_flush_that_forgets_it() {
    let mut machine = Machine::new(40, 8);
    machine.p2m.map(Gfn(0), Mfn(0), 600, RAM).unwrap();
    machine.p2m.unmap(Gfn(0), 600).unwrap();
    assert_eq!(machine.p2m.tables(), 2, "the second table was not emptied at its end");
    machine.events();
    // Two empty tables, which a TLB may still know the way to. A call looks at one table's slots.
    let (mut at, mut given) = (0, 0);
    while at < GIB {
        at += machine.p2m.unmap(Gfn(at), GIB - at).unwrap().1;
        let events = machine.events();
        given += events.given.len();
        assert!(events.given.iter().all(|&(_, flushed)| flushed));
        assert_eq!(events.by_address.len(), usize::from(!events.given.is_empty()));
        assert!(events.by_address.iter().all(|&(_, depth)| depth == Depth::AllLevels));
    }
    assert_eq!(given, 2);
    machine.tear_down();
}

#[test]
fn a_long_removal_stops_and_goes_on() {
    let mut machine = Machine::new(40, 300);
    // Fragmented RAM: runs of one frame, over more tables than one call looks at.
    for frame in 0..100 {
        machine.p2m.map(Gfn(frame * 700), Mfn(3 * frame), 1, RAM).unwrap();
    }
    let (removed, done) = machine.p2m.unmap(Gfn(0), 100_000).unwrap();
    assert!(removed.len() <= RUNS && done < 100_000);
    assert!(removed.iter().all(|run| run.gfn.0 < done));
    let mut at = done;
    let mut count = removed.len();
    let mut calls = 1;
    while at < 100_000 {
        let (removed, done) = machine.p2m.unmap(Gfn(at), 100_000 - at).unwrap();
        at += done;
        count += removed.len();
        calls += 1;
    }
    assert_eq!(count, 100);
    // A call looks at one table's slots, and there are a hundred tables.
    assert!(calls <= 100 + 1, "{calls}");
    machine.tear_down();
}

#[test]
fn a_replaced_frame_is_returned_after_the_flush() {
    let mut machine = Machine::new(40, 8);
    assert_eq!(machine.p2m.replace(Gfn(5), Mfn(50), MapKind::Grant), Ok(None));
    assert_eq!(machine.events().flushes(), 0);
    let old = machine.p2m.replace(Gfn(5), Mfn(60), MapKind::ForeignReadOnly).unwrap();
    assert_eq!(old, Some(Entry { mfn: Mfn(50), kind: MapKind::Grant, order: 0 }));
    assert_eq!(machine.events().flushes(), 1);
    assert_eq!(machine.p2m.lookup(Gfn(5)).unwrap().mfn, Mfn(60));
    // A frame in the middle of a block, and the last one of a table that was full of pages.
    machine.p2m.map(Gfn(GIB), Mfn(GIB), GIB, RAM).unwrap();
    machine.p2m.replace(Gfn(GIB + 511), Mfn(1), MapKind::Shared).unwrap();
    assert_eq!(machine.events().flushes(), 1);
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 511)).unwrap().kind, MapKind::Shared);
    assert_eq!(machine.p2m.lookup(Gfn(GIB + 510)).unwrap().mfn, Mfn(GIB + 510));
    machine.tear_down();
}

#[test]
fn a_replacement_needs_no_table_that_it_just_gave_back() {
    // The only frame of its tables is the last of each: removing it gives both tables back.
    let mut machine = Machine::new(40, 2);
    machine.p2m.map(Gfn(GIB - 1), Mfn(1), 1, RAM).unwrap();
    assert!(machine.p2m.replace(Gfn(GIB - 1), Mfn(2), RAM).unwrap().is_some());
    assert_eq!(machine.p2m.lookup(Gfn(GIB - 1)).unwrap().mfn, Mfn(2));
    machine.tear_down();
}

#[test]
fn a_frame_comes_into_a_table_that_a_removal_left_empty() {
    let mut machine = Machine::new(40, 2);
    machine.p2m.map(Gfn(GIB + MIB2 - 2), Mfn(1), 1, RAM).unwrap();
    // Not the table's last frame, so the empty table stays.
    machine.p2m.unmap(Gfn(GIB + MIB2 - 2), 1).unwrap();
    assert_eq!(machine.p2m.tables(), 2);
    machine.events();
    // The table's last frame: the table goes, flushed, and one from the pool comes.
    assert_eq!(machine.p2m.replace(Gfn(GIB + MIB2 - 1), Mfn(2), RAM), Ok(None));
    let state = machine.events();
    assert_eq!((state.flushes(), state.given.len()), (1, 1));
    assert!(state.given.iter().all(|(_, flushed)| *flushed), "a walk may be under way in it");
    assert_eq!(machine.p2m.lookup(Gfn(GIB + MIB2 - 1)).unwrap().mfn, Mfn(2));
    assert_eq!(machine.p2m.tables(), 2);
    machine.tear_down();
}

#[test]
fn access_is_checked_by_kind() {
    let mut machine = Machine::new(40, 8);
    for (frame, kind) in (0_u64..).zip(MapKind::ALL) {
        machine.p2m.map(Gfn(frame), Mfn(100), 1, kind).unwrap();
        let allowed = |access| machine.p2m.lookup_for(Gfn(frame), access).is_ok();
        assert!(allowed(P2mAccess::Read));
        assert_eq!(allowed(P2mAccess::Write), kind.writable());
        assert_eq!(allowed(P2mAccess::Execute), kind.executable());
        let walked = machine.walk(frame).unwrap();
        assert_eq!((walked.write, walked.execute), (kind.writable(), kind.executable()));
    }
    assert_eq!(machine.p2m.lookup_for(Gfn(99), P2mAccess::Read), Err(P2mError::NotMapped));
}
