//! Random calls, compared with a list of what should be mapped.

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 18;
const MIB2: u64 = 1 << 9;

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
                    let State { given, by_address, all, .. } = self.events();
                    // What was there is flushed, and so is a table that an earlier removal left empty and that ends here.
                    let stale = !expected.is_empty() || !given.is_empty();
                    assert_eq!(by_address.len() + all as usize, usize::from(stale));
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
