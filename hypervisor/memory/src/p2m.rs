//! Stage 2: which machine frame stands behind each guest frame of a domain.
//!
//! What another domain may still reach through a TLB is never handed back: frames that were mapped, and frames of
//! tables, come out of a call only after the flush that it needed. Arguments are checked against the limit of the
//! guest's addresses in one place, ranges included. The tables come from a pool of the domain's own.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;

use crate::table::{Root, RootPages};
use xenolith_core::types::{Gfn, Mfn};

mod edit;
mod geometry;
mod map;
mod piece;
mod pool;
mod scan;
mod split;
mod tlb;
mod vmid;

pub use crate::map_kind::MapKind;
pub use edit::Edit;
pub use geometry::Geometry;
pub use pool::TablePool;
pub use tlb::{AddressSpace, Depth, FLUSH_BY_ADDRESS, Tlb, Vmid};
pub use vmid::Vmids;

use piece::Piece;

/// How many runs of removed or listed frames one call returns at most.
pub const RUNS: usize = 64;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum P2mError {
    /// A guest frame lies at or above the limit of guest addresses, or a machine frame above that of the CPU, or a
    /// range wraps around.
    OutOfRange,
    /// Nothing is mapped there.
    NotMapped,
    /// Something is mapped there.
    Occupied,
    /// What is mapped there does not allow this access.
    NotAllowed,
    /// The domain's pool has no frame left for a table.
    NoTables,
}

impl From<P2mError> for Errno {
    fn from(error: P2mError) -> Self {
        match error {
            P2mError::OutOfRange | P2mError::NotMapped => Errno::EINVAL,
            P2mError::Occupied => Errno::EBUSY,
            P2mError::NotAllowed => Errno::EACCES,
            P2mError::NoTables => Errno::ENOMEM,
        }
    }
}

/// What a guest does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P2mAccess {
    /// It loads.
    Read,
    /// It stores.
    Write,
    /// It fetches instructions.
    Execute,
}

/// What stands behind one guest frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The machine frame.
    pub mfn: Mfn,
    /// What it is to the domain.
    pub kind: MapKind,
    /// log2 of the frames that the descriptor maps: 0, 9 or 18.
    pub order: u8,
}

/// Neighbouring guest frames that were or are mapped to neighbouring machine frames as the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first guest frame.
    pub gfn: Gfn,
    /// The machine frame behind it.
    pub mfn: Mfn,
    /// Number of frames on either side.
    pub pages: u64,
    /// What they are to the domain.
    pub kind: MapKind,
}

/// Runs in the order of their guest frames.
pub type Runs = ArrayVec<Run, RUNS>;

impl Run {
    /// Adds a run to a list, as part of the last one if it continues that. False when the list is full.
    fn append(runs: &mut Runs, run: Run) -> bool {
        if let Some(last) = runs.last_mut()
            && last.kind == run.kind
            && last.gfn.0 + last.pages == run.gfn.0
            && last.mfn.0 + last.pages == run.mfn.0
        {
            last.pages += run.pages;
            return true;
        }
        runs.try_push(run).is_ok()
    }
}

/// The stage-2 tables of one domain.
pub struct P2m<P: TablePool, T: Tlb> {
    geometry: Geometry,
    root: Root<T::Format>,
    vmid: Vmid,
    pool: P,
    tlb: T,
    tables: u64,
    highest: Option<Gfn>,
}

impl<P: TablePool, T: Tlb> P2m<P, T> {
    /// Empty tables. `None` when `root` does not have the number of frames that the geometry asks for.
    pub fn new(geometry: Geometry, vmid: Vmid, root: RootPages, pool: P, tlb: T) -> Option<Self> {
        if root.order() != geometry.root_order() {
            return None;
        }
        let root = Root::new(root, geometry.level());
        Some(P2m { geometry, root, vmid, pool, tlb, tables: 0, highest: None })
    }

    /// The shape of the walk.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What the domain's TLB entries are marked with.
    pub fn vmid(&self) -> Vmid {
        self.vmid
    }

    /// What the hardware walks while one of the domain's vCPUs runs.
    pub fn space(&self) -> AddressSpace {
        AddressSpace { root: self.root.mfn(), vmid: self.vmid }
    }

    /// Where the tables come from.
    pub fn pool(&self) -> &P {
        &self.pool
    }

    /// The pool of table frames, to make it larger or smaller.
    pub fn pool_mut(&mut self) -> &mut P {
        &mut self.pool
    }

    /// How many frames of the pool are in use as tables. The root is not from the pool.
    pub fn tables(&self) -> u64 {
        self.tables
    }

    /// How many frames the root has: none after [`Self::take_root`].
    pub fn root_pages(&self) -> u64 {
        self.root.tables()
    }

    /// The highest guest frame that was ever mapped (`XENMEM_maximum_gpfn`).
    pub fn highest(&self) -> Option<Gfn> {
        self.highest
    }

    /// Begins removals that share one flush.
    pub fn edit(&mut self) -> Edit<'_, P, T> {
        Edit::new(self)
    }

    /// Removes what is mapped in `pages` guest frames from `gfn`, as [`Edit::unmap`] does, and flushes. Returns what
    /// was removed, and how many of the frames it is done with.
    pub fn unmap(&mut self, gfn: Gfn, pages: u64) -> Result<(Runs, u64), P2mError> {
        let mut edit = self.edit();
        let done = edit.unmap(gfn, pages)?;
        Ok((edit.finish(), done))
    }

    /// Removes what is mapped at one frame, and flushes. The same errors as of [`Edit::unmap`].
    pub fn remove(&mut self, gfn: Gfn) -> Result<Option<Run>, P2mError> {
        let mut edit = self.edit();
        edit.unmap(gfn, 1)?;
        Ok(edit.finish_one())
    }

    /// Maps one frame in place of what is there, if anything, and returns what was there, flushed. While it is being
    /// replaced the guest finds nothing there: break before make, which some architectures ask for and none forbids.
    ///
    /// Errors, with nothing changed: [`P2mError::OutOfRange`], [`P2mError::NoTables`].
    pub fn replace(&mut self, gfn: Gfn, mfn: Mfn, kind: MapKind) -> Result<Option<Entry>, P2mError> {
        let page = Piece::new(self.geometry, gfn, 1)?;
        // Checked before anything is removed, because a failure changes nothing.
        piece::Backing::new(self.geometry, page, mfn)?;
        let removed = self.remove(gfn)?;
        // What was removed left its table in place or in the pool, so this fails only when nothing was there.
        self.map(gfn, mfn, 1, kind)?;
        Ok(removed.map(|run| Entry { mfn: run.mfn, kind: run.kind, order: 0 }))
    }

    /// Ends the tables: the root comes back when nothing is mapped, as after all frames were unmapped. All tables are in
    /// the pool then, and nothing can be found or mapped any more. `None` when something is mapped, and when this was
    /// done before. The caller flushes what the TLBs hold of the domain before it uses the root for anything else.
    pub fn take_root(&mut self) -> Option<RootPages> {
        self.root.take_pages()
    }

    /// Whether the tables have ended.
    fn has_ended(&self) -> bool {
        self.root.tables() == 0
    }

    /// The parts of a piece in the reach of each of the root's tables.
    fn roots(&self, whole: Piece) -> impl Iterator<Item = Piece> + use<P, T> {
        let reach = self.root.table_pages();
        let mut first = whole.first;
        core::iter::from_fn(move || {
            let part = (first < whole.end).then(|| Piece { first, end: whole.end }.within(reach))?;
            first = part.end;
            Some(part)
        })
    }
}
