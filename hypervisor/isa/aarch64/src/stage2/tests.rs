//! The tables against a list of what should be mapped, a walk as the hardware does it from the registers alone, and a
//! TLB that holds everything it may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use xenolith_core::types::{Gfn, Ipa};
use xenolith_memory::arena;
use xenolith_memory::p2m::{
    Depth, Entry, FLUSH_BY_ADDRESS, P2m, P2mAccess, P2mError, RUNS, Run, TablePool, Tlb, Vmid,
};
use xenolith_memory::table::{TableList, TablePage};

mod calls;
mod model;
mod registers;
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
    type Format = Stage2Descriptor;

    fn publish(&self) {
        self.0.lock().unwrap().published += 1;
    }

    fn flush_addresses(&self, space: AddressSpace, addresses: &[Ipa], depth: Depth) {
        let mut state = self.0.lock().unwrap();
        assert!(!addresses.is_empty() && addresses.len() <= FLUSH_BY_ADDRESS);
        for address in addresses {
            assert_eq!(
                walk(Vttbr::new(space).0, state.vtcr, *address),
                None,
                "flushed while it is still there"
            );
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

    fn flush_all(&self, _space: AddressSpace) {
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
        let geometry = geometry(bits).unwrap();
        let recorder = Recorder::default();
        recorder.0.lock().unwrap().vtcr = vtcr(geometry, false);
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
        walk(Vttbr::new(self.p2m.space()).0, vtcr(self.p2m.geometry(), false), Gfn(frame).base())
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
        assert!(self.p2m.take_root().is_some());
        assert!(self.p2m.take_root().is_none());
        assert_eq!(self.p2m.lookup(Gfn(1)), Err(P2mError::NotMapped));
        assert_eq!(self.p2m.map(Gfn(1), Mfn(1), 1, MapKind::Ram), Err(P2mError::NoTables));
        assert_eq!(self.p2m.unmap(Gfn(0), 9).map(|(_, done)| done), Ok(9));
        assert_eq!(self.p2m.scan(Gfn(0), 9).map(|(_, done)| done), Ok(9));
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
