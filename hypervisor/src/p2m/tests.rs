//! The tables against a list of what should be mapped, a walk as the hardware does it from the registers alone, and a
//! TLB that holds everything it may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::mm::arena;
use crate::mm::table::{TableList, TablePage};
use crate::types::{Ipa, Pa};

mod walk;
use walk::{Walked, walk};

/// A leaf as a TLB holds it: its first frame leads to its size and what it says.
type Cached = BTreeMap<u64, (u64, Walked)>;

#[derive(Default)]
struct State {
    cached: Cached,
    vtcr: u64,
    by_address: Vec<(Vec<Ipa>, Depth)>,
    all: u32,
    published: u32,
    /// Frames that came back to the pool since the last look, and whether a flush came before each.
    given: Vec<(Mfn, bool)>,
}

impl State {
    fn flushes(&self) -> usize {
        self.by_address.len() + self.all as usize
    }
}

/// A TLB that asserts break before make: when a leaf is flushed, the tables no longer have it.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<State>>);

impl Tlb for Recorder {
    fn publish(&self) {
        self.0.lock().unwrap().published += 1;
    }

    fn flush_addresses(&self, space: Vttbr, addresses: &[Ipa], depth: Depth) {
        let mut state = self.0.lock().unwrap();
        assert!(!addresses.is_empty() && addresses.len() <= FLUSH_BY_ADDRESS);
        for address in addresses {
            assert_eq!(walk(space.0, state.vtcr, *address), None, "flushed while it is still there");
            let frame = address.frame().0;
            let hit = state.cached.range(..=frame).next_back().map(|(&first, &(pages, _))| (first, pages));
            if let Some((first, pages)) = hit
                && frame < first + pages
            {
                state.cached.remove(&first);
            }
        }
        state.by_address.push((addresses.to_vec(), depth));
    }

    fn flush_all(&self, _space: Vttbr) {
        let mut state = self.0.lock().unwrap();
        state.cached.clear();
        state.all += 1;
    }
}

/// A pool that notes what comes back, and when.
struct Pool {
    list: TableList,
    recorder: Recorder,
}

impl TablePool for Pool {
    fn take(&mut self) -> Option<TablePage> {
        self.list.pop()
    }

    fn give(&mut self, page: TablePage) {
        let mut state = self.recorder.0.lock().unwrap();
        let flushed = state.flushes() > 0;
        state.given.push((page.mfn(), flushed));
        drop(state);
        self.list.push(page);
    }
}

struct Machine {
    p2m: P2m<Pool, Recorder>,
    recorder: Recorder,
    tables: u64,
}

impl Machine {
    fn new(bits: u32, tables: u64) -> Self {
        let geometry = Geometry::for_physical(bits).unwrap();
        let recorder = Recorder::default();
        recorder.0.lock().unwrap().vtcr = geometry.vtcr(false);
        let pool = Pool { list: arena::tables(tables), recorder: recorder.clone() };
        let root = arena::root(geometry.root_order());
        let p2m = P2m::new(geometry, Vmid(7), root, pool, recorder.clone()).unwrap();
        Machine { p2m, recorder, tables }
    }

    /// What happened since the last call of this.
    fn events(&self) -> State {
        let mut state = self.recorder.0.lock().unwrap();
        let fresh = State { vtcr: state.vtcr, cached: state.cached.clone(), ..State::default() };
        core::mem::replace(&mut *state, fresh)
    }

    fn walk(&self, frame: u64) -> Option<Walked> {
        walk(self.p2m.vttbr().0, self.p2m.geometry().vtcr(false), Gfn(frame).base())
    }

    /// All that is mapped, with neighbours joined.
    fn all(&self) -> Vec<Run> {
        let end = self.p2m.geometry().end().0;
        let mut runs = Vec::new();
        let mut at = 0;
        while at < end {
            let (some, done) = self.p2m.scan(Gfn(at), end - at).unwrap();
            assert!(done > 0);
            runs.extend(some);
            at += done;
        }
        joined(runs)
    }

    fn unmap_all(&mut self) {
        let end = self.p2m.geometry().end().0;
        let mut at = 0;
        while at < end {
            let (_, done) = self.p2m.unmap(Gfn(at), end - at).unwrap();
            assert!(done > 0);
            at += done;
        }
    }

    /// After everything is unmapped, everything is back.
    fn tear_down(mut self) {
        self.unmap_all();
        assert_eq!(self.all(), []);
        assert_eq!(self.p2m.tables(), 0);
        assert_eq!(self.p2m.pool().list.len(), self.tables);
        assert!(self.p2m.into_parts().is_ok());
    }
}

fn joined(runs: impl IntoIterator<Item = Run>) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last)
                if last.kind == run.kind
                    && last.gfn.0 + last.pages == run.gfn.0
                    && last.mfn.0 + last.pages == run.mfn.0 =>
            {
                last.pages += run.pages;
            }
            _ => joined.push(run),
        }
    }
    joined
}

fn run(gfn: u64, mfn: u64, pages: u64, kind: MapKind) -> Run {
    Run { gfn: Gfn(gfn), mfn: Mfn(mfn), pages, kind }
}

const RAM: MapKind = MapKind::Ram;
const GIB: u64 = 1 << 18;
const MIB2: u64 = 1 << 9;

#[test]
fn the_root_has_the_size_that_the_geometry_asks_for() {
    let geometry = Geometry::for_physical(40).unwrap();
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
            assert_eq!(p2m.lookup_for(gfn, Access::Read), Err(P2mError::OutOfRange));
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
    // Two empty tables, which a TLB may still know the way to.
    machine.p2m.unmap(Gfn(0), GIB).unwrap();
    let events = machine.events();
    assert_eq!(events.given.len(), 2);
    assert!(events.given.iter().all(|&(_, flushed)| flushed));
    assert_eq!(events.by_address.len(), 1);
    assert_eq!(events.by_address[0].1, Depth::AllLevels);
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
    assert!(calls < 16, "{calls}");
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
fn access_is_checked_by_kind() {
    let mut machine = Machine::new(40, 8);
    for (frame, kind) in (0_u64..).zip(MapKind::ALL) {
        machine.p2m.map(Gfn(frame), Mfn(100), 1, kind).unwrap();
        let allowed = |access| machine.p2m.lookup_for(Gfn(frame), access).is_ok();
        assert!(allowed(Access::Read));
        assert_eq!(allowed(Access::Write), kind.writable());
        assert_eq!(allowed(Access::Execute), kind.executable());
        let walked = machine.walk(frame).unwrap();
        assert_eq!((walked.write, walked.execute), (kind.writable(), kind.executable()));
    }
    assert_eq!(machine.p2m.lookup_for(Gfn(99), Access::Read), Err(P2mError::NotMapped));
}

/// The model: segments that neither overlap nor touch the same way.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, Run>);

impl Model {
    fn occupied(&self, gfn: u64, pages: u64) -> bool {
        self.0.values().any(|run| run.gfn.0 < gfn + pages && gfn < run.gfn.0 + run.pages)
    }

    fn add(&mut self, run: Run) {
        self.0.insert(run.gfn.0, run);
    }

    fn remove(&mut self, gfn: u64, pages: u64) -> Vec<Run> {
        let mut removed = Vec::new();
        for old in core::mem::take(&mut self.0).into_values() {
            let cut = |from: u64, to: u64| {
                let first = old.gfn.0.max(from);
                let end = (old.gfn.0 + old.pages).min(to);
                (first < end).then(|| run(first, old.mfn.0 + (first - old.gfn.0), end - first, old.kind))
            };
            for part in [cut(0, gfn), cut(gfn + pages, u64::MAX)].into_iter().flatten() {
                self.add(part);
            }
            removed.extend(cut(gfn, gfn + pages));
        }
        joined(removed)
    }

    fn all(&self) -> Vec<Run> {
        joined(self.0.values().copied())
    }

    fn at(&self, frame: u64) -> Option<(Mfn, MapKind)> {
        let run = self.0.range(..=frame).next_back()?.1;
        let within = frame - run.gfn.0;
        (within < run.pages).then(|| (Mfn(run.mfn.0 + within), run.kind))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Map { gfn: u64, mfn: u64, pages: u64, kind: MapKind },
    Unmap { gfn: u64, pages: u64 },
    UnmapMany { gfns: Vec<u64> },
    Replace { gfn: u64, mfn: u64, kind: MapKind },
}

/// Frames around the places where tables, blocks and roots meet.
fn frame(end: u64) -> impl Strategy<Value = u64> {
    let places = [0, MIB2, 3 * MIB2, GIB, 2 * GIB, 512 * GIB, end - GIB, end];
    (prop::sample::select(places.to_vec()), -3_i64..700, any::<bool>()).prop_map(
        move |(place, off, exact)| if exact { place } else { place.saturating_add_signed(off) }.min(end),
    )
}

fn pages() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_u64..6,
        3 => prop::sample::select(vec![MIB2 - 1, MIB2, MIB2 + 1, 2 * MIB2, 1300]),
        1 => prop::sample::select(vec![GIB, 2 * GIB, GIB + MIB2, 3 * GIB + 1]),
    ]
}

fn step(end: u64) -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(MapKind::ALL.to_vec());
    let mfn = (frame(end).boxed(), any::<bool>());
    prop_oneof![
        4 => (frame(end), mfn.clone(), pages(), kind.clone()).prop_map(|(gfn, (mfn, direct), pages, kind)| {
            // Large ranges that do not suit each other would only make the test slow.
            let mfn = if direct || pages > 1300 { gfn } else { mfn };
            Step::Map { gfn, mfn, pages, kind }
        }),
        4 => (frame(end), pages()).prop_map(|(gfn, pages)| Step::Unmap { gfn, pages }),
        1 => prop::collection::vec(frame(end), 1..30).prop_map(|gfns| Step::UnmapMany { gfns }),
        2 => (frame(end), mfn, kind).prop_map(|(gfn, (mfn, _), kind)| Step::Replace { gfn, mfn, kind }),
    ]
}

impl Machine {
    /// The TLB caches all that it may.
    fn cache_all(&self) {
        let mut cached = Cached::new();
        for run in self.all() {
            let mut at = run.gfn.0;
            while at < run.gfn.0 + run.pages {
                let walked = self.walk(at).unwrap();
                cached.insert(at, (walked.pages, walked));
                at += walked.pages;
            }
        }
        self.recorder.0.lock().unwrap().cached = cached;
    }

    /// Makes a call on the tables and on the model; answers, flushes and tables given back have to fit.
    fn apply(&mut self, model: &mut Model, step: Step) {
        let end = self.p2m.geometry().end().0;
        let tables = self.p2m.tables();
        self.events();
        match step {
            Step::Map { gfn, mfn, pages, kind } => {
                let result = self.p2m.map(Gfn(gfn), Mfn(mfn), pages, kind);
                if gfn >= end || gfn + pages > end || mfn + pages > end {
                    assert_eq!(result, Err(P2mError::OutOfRange));
                } else if model.occupied(gfn, pages) {
                    assert_eq!(result, Err(P2mError::Occupied));
                } else if result.is_ok() {
                    model.add(run(gfn, mfn, pages, kind));
                } else {
                    assert_eq!(result, Err(P2mError::NoTables));
                }
                assert_eq!(self.events().flushes(), 0, "adding flushes nothing");
            }
            Step::Unmap { gfn, pages } => {
                match self.p2m.unmap(Gfn(gfn), pages) {
                    Ok((removed, done)) => {
                        assert!(done <= pages);
                        assert_eq!(joined(removed.clone()), model.remove(gfn, done));
                        let flushes = self.events().flushes();
                        // One, and one more for each end that lies within a block.
                        assert!(flushes <= 3);
                        let idle = removed.is_empty() && self.p2m.tables() == tables;
                        assert_eq!(flushes == 0, idle);
                    }
                    Err(P2mError::OutOfRange) => assert!(gfn + pages > end),
                    Err(error) => assert_eq!(error, P2mError::NoTables),
                }
            }
            Step::UnmapMany { gfns } => {
                let mut edit = self.p2m.edit();
                let mut expected = Vec::new();
                for gfn in gfns {
                    if edit.unmap(Gfn(gfn), 1) == Ok(1) {
                        expected.extend(model.remove(gfn, 1));
                    }
                }
                assert_eq!(joined(edit.finish()), joined(expected));
            }
            Step::Replace { gfn, mfn, kind } => match self.p2m.replace(Gfn(gfn), Mfn(mfn), kind) {
                Ok(old) => {
                    let expected = model.remove(gfn, 1);
                    assert_eq!(
                        old.map(|old| (old.mfn, old.kind)),
                        expected.first().map(|run| (run.mfn, run.kind))
                    );
                    model.add(run(gfn, mfn, 1, kind));
                    assert_eq!(self.events().flushes(), expected.len());
                }
                Err(P2mError::OutOfRange) => assert!(gfn >= end || mfn >= end),
                Err(error) => assert_eq!(error, P2mError::NoTables),
            },
        }
    }

    fn check(&self, model: &Model) {
        assert_eq!(self.all(), model.all());
        let used = self.p2m.tables() + self.p2m.pool().list.len();
        assert_eq!(used, self.tables, "no table is lost");
        let end = self.p2m.geometry().end().0;
        for run in model.0.values() {
            let last = run.gfn.0 + run.pages - 1;
            for frame in [run.gfn.0.wrapping_sub(1), run.gfn.0, run.gfn.0 + run.pages / 2, last, last + 1] {
                if frame >= end {
                    continue;
                }
                let found = self.p2m.lookup(Gfn(frame)).ok().map(|entry| (entry.mfn, entry.kind));
                assert_eq!(found, model.at(frame));
                let walked = self.walk(frame).map(|walked| walked.output(frame));
                assert_eq!(walked, model.at(frame).map(|(mfn, _)| mfn.base()), "{frame:#x}");
            }
        }
        // Nothing that a TLB may still hold differs from the tables.
        for (&first, (_, cached)) in &self.recorder.0.lock().unwrap().cached {
            assert_eq!(Some(*cached), self.walk(first), "stale at {first:#x}");
        }
    }
}

impl Walked {
    fn output(self, frame: u64) -> Pa {
        Pa(self.base.0 + ((frame & (self.pages - 1)) << 12))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_walks_and_caches_agree_with_the_model(
        (bits, steps) in prop::sample::select(vec![36, 40, 42, 44, 48])
            .prop_flat_map(|bits| (Just(bits), prop::collection::vec(step(1 << (bits - 12)), 1..40))),
        tables in prop::sample::select(vec![0, 3, 12, 60]),
    ) {
        let mut machine = Machine::new(bits, tables);
        let mut model = Model::default();
        for step in steps {
            machine.cache_all();
            machine.apply(&mut model, step);
            machine.check(&model);
        }
        machine.tear_down();
    }
}
