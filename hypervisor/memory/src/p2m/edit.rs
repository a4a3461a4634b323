//! Removing mappings. Several removals share one flush, and what was removed is handed over only after it.

use arrayvec::ArrayVec;

use super::piece::{Piece, slot_start};
use super::split::{discard, without};
use super::tlb::{AddressSpace, Stale};
use super::{P2m, P2mError, Run, Runs, TablePool, Tlb};
use crate::table::{Index, Leaf, Table, TableMut, TableSlot};
use xenolith_core::bug;
use xenolith_core::types::{Gfn, Mfn};
use xenolith_hw::steps;

/// How many slots one call looks at before it returns to the caller, who may have to let others run.
const STEPS: u32 = 512;

/// Removals that are flushed together. The tables stay borrowed until [`Edit::finish`], so nothing can be mapped over a
/// stale translation.
pub struct Edit<'a, P: TablePool, T: Tlb> {
    p2m: &'a mut P2m<P, T>,
    stale: Stale,
    removed: Runs,
}

/// Why a removal ended before its end.
enum Stop {
    /// The list of what was removed is full, or enough slots were looked at.
    Later,
    /// A block has to be split, and there is no frame for the table.
    NoTables,
}

impl<'a, P: TablePool, T: Tlb> Edit<'a, P, T> {
    pub(super) fn new(p2m: &'a mut P2m<P, T>) -> Self {
        Edit { p2m, stale: Stale::default(), removed: ArrayVec::new() }
    }

    /// Removes what is mapped in `pages` guest frames from `gfn`; frames that are not mapped are passed over.
    ///
    /// Returns how many frames it is done with. That is fewer than `pages` when the list of what was removed is full or
    /// the work gets long: the caller finishes this edit and goes on from there. Errors, with nothing removed:
    /// [`P2mError::OutOfRange`], and [`P2mError::NoTables`] when the first frame lies in a block that cannot be split.
    pub fn unmap(&mut self, gfn: Gfn, pages: u64) -> Result<u64, P2mError> {
        let whole = Piece::new(self.p2m.geometry, gfn, pages)?;
        if self.p2m.has_ended() {
            return Ok(pages);
        }
        let space = self.p2m.space();
        let mut steps = STEPS;
        let mut reached = whole.first;
        while reached < whole.end {
            let piece = Piece { first: reached, end: whole.end }.within(self.p2m.root.table_pages());
            let Some(mut table) = self.p2m.root.table_mut(reached) else { break };
            let mut removal = Removal {
                pool: &mut self.p2m.pool,
                tables: &mut self.p2m.tables,
                tlb: &self.p2m.tlb,
                space,
                stale: &mut self.stale,
                removed: &mut self.removed,
                steps: &mut steps,
                reached: &mut reached,
            };
            match removal.remove(&mut table, piece) {
                Ok(()) => {}
                // Later in the range it is no error: the caller learns how far it came, and gets it at the next call.
                Err(Stop::NoTables) if reached == whole.first => return Err(P2mError::NoTables),
                Err(_) => break,
            }
        }
        Ok(reached - whole.first)
    }

    /// Flushes, once, and hands over what was removed: now its references can be dropped.
    #[must_use = "the frames that were mapped still have their references"]
    pub fn finish(mut self) -> Runs {
        self.flush();
        core::mem::take(&mut self.removed)
    }

    /// As [`Edit::finish`], for the removal of one frame: what it was comes back without the list, which is large.
    #[must_use = "the frame that was mapped still has its reference"]
    pub fn finish_one(mut self) -> Option<Run> {
        self.flush();
        self.removed.first().copied()
    }

    fn flush(&mut self) {
        self.stale.flush(self.p2m.space(), &self.p2m.tlb, &mut self.p2m.pool);
    }
}

impl<P: TablePool, T: Tlb> Drop for Edit<'_, P, T> {
    fn drop(&mut self) {
        // Also when an error ends the edit: stale translations must not outlive the borrow of the tables.
        self.flush();
    }
}

/// One removal on its way through the tables.
struct Removal<'a, P: TablePool, T: Tlb> {
    pool: &'a mut P,
    tables: &'a mut u64,
    tlb: &'a T,
    space: AddressSpace,
    stale: &'a mut Stale,
    removed: &'a mut Runs,
    steps: &'a mut u32,
    reached: &'a mut u64,
}

impl<P: TablePool, T: Tlb> Removal<'_, P, T> {
    fn remove(&mut self, table: &mut TableMut<'_, T::Format>, piece: Piece) -> Result<(), Stop> {
        let level = table.view().level();
        for (index, part) in piece.cut(level) {
            // Empty slots count too: a guest may have a call made on a vast range in which little is mapped.
            steps::count(steps::SLOT);
            *self.steps = self.steps.checked_sub(1).ok_or(Stop::Later)?;
            match table.view().slot(index) {
                TableSlot::Empty => {}
                TableSlot::Table => self.remove_below(table, index, part)?,
                TableSlot::Leaf(leaf) if part.fills_slot(level) => {
                    // Listed before it is taken out: when the list is full the leaf stays mapped.
                    self.note(part, leaf, part.first)?;
                    table.take(index);
                    // Not flushed yet: one flush serves the whole edit, and nothing is mapped here before it.
                    self.stale.leaf(part.first);
                }
                TableSlot::Leaf(leaf) => self.remove_part(table, index, part, leaf)?,
            }
            // After each slot, so that whoever goes on later begins at what was not done.
            *self.reached = part.end;
        }
        Ok(())
    }

    /// Goes down one level, and unlinks the table there if the removal passed its end and left it empty. One that is
    /// left empty by a removal from its middle stays, for the mappings that are likely to follow.
    fn remove_below(
        &mut self,
        table: &mut TableMut<'_, T::Format>,
        index: Index,
        part: Piece,
    ) -> Result<(), Stop> {
        let level = table.view().level();
        let Some(mut child) = table.child(index) else {
            bug!("no table behind a table's slot");
            return Ok(());
        };
        self.remove(&mut child, part)?;
        let first = slot_start(level, part.first);
        // In this order: looking for content in 512 slots is dear, and most removals end elsewhere.
        if part.end != first + level.slot_pages() || !child.view().is_empty() {
            return Ok(());
        }
        if let Some(Ok(page)) = table.unlink(index).map(Table::into_page) {
            // A walk may be under way in it, or a TLB know the way to it: its frame goes back after the flush.
            self.stale.table(first, level, page);
            *self.tables = self.tables.saturating_sub(1);
        }
        Ok(())
    }

    /// Removes a part of a block: break, flush, make. The table that replaces the block is complete, less that part,
    /// before the block goes, so a failure to build it leaves all as it was.
    fn remove_part(
        &mut self,
        table: &mut TableMut<'_, T::Format>,
        index: Index,
        part: Piece,
        leaf: Leaf,
    ) -> Result<(), Stop> {
        let level = table.view().level();
        let first = slot_start(level, part.first);
        // Break before make (Arm ARM, "Using break-before-make when updating translation table entries"): a block and a
        // table for the same addresses must not be in a TLB at the same time. The guest may fault meanwhile, and then
        // runs its instruction again (`lookup_for`).
        let (rest, used) = without(leaf, level, part, self.pool).ok_or(Stop::NoTables)?;
        // The last that can fail, while the block is still in place.
        if let Err(stop) = self.note(part, leaf, first) {
            discard(rest, self.pool);
            return Err(stop);
        }
        table.take(index);
        self.stale.leaf(first);
        self.stale.flush(self.space, self.tlb, self.pool);
        let _linked = table.link(index, rest);
        *self.tables += used;
        // The guest uses what is left of the block: it must not fault there for longer than needed.
        self.tlb.publish();
        Ok(())
    }

    /// Lists a removed part of the leaf whose reach begins at `first`.
    fn note(&mut self, part: Piece, leaf: Leaf, first: u64) -> Result<(), Stop> {
        let run = Run {
            gfn: Gfn(part.first),
            mfn: Mfn(leaf.mfn.0 + (part.first - first)),
            pages: part.pages(),
            kind: leaf.kind,
        };
        if Run::append(self.removed, run) { Ok(()) } else { Err(Stop::Later) }
    }
}
