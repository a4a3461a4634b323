//! Looking at the tables without changing them.

use super::piece::Piece;
use super::{Entry, P2m, P2mAccess, P2mError, Run, Runs, TablePool, Tlb};
use crate::descriptor::Descriptor;
use crate::table::{TableSlot, View};
use xenolith_core::types::{Gfn, Mfn};
use xenolith_hw::steps;

/// Slots that one scan looks at before it returns to the caller, who may have to let others run.
const STEPS: u32 = 256;

impl<P: TablePool, T: Tlb> P2m<P, T> {
    /// What stands behind a guest frame. Errors: [`P2mError::OutOfRange`], [`P2mError::NotMapped`].
    pub fn lookup(&self, gfn: Gfn) -> Result<Entry, P2mError> {
        Piece::new(self.geometry, gfn, 1)?;
        let mut table = self.root.table(gfn.0).ok_or(P2mError::NotMapped)?;
        loop {
            let level = table.level();
            let index = level.index(gfn.0);
            match table.slot(index) {
                TableSlot::Empty => return Err(P2mError::NotMapped),
                TableSlot::Table => table = table.child(index).ok_or(P2mError::NotMapped)?,
                TableSlot::Leaf(leaf) => {
                    return Ok(Entry {
                        mfn: Mfn(leaf.mfn.0 | (gfn.0 & (level.slot_pages() - 1))),
                        kind: leaf.kind,
                        order: level.order() as u8,
                    });
                }
            }
        }
    }

    /// As [`Self::lookup`], for an access that the guest makes or that is made in its name. One more error:
    /// [`P2mError::NotAllowed`].
    ///
    /// A fault on a frame for which this succeeds is none: another CPU was splitting a block at that moment, and the
    /// guest just runs the instruction again.
    pub fn lookup_for(&self, gfn: Gfn, access: P2mAccess) -> Result<Entry, P2mError> {
        let entry = self.lookup(gfn)?;
        let allowed = match access {
            P2mAccess::Read => true,
            P2mAccess::Write => entry.kind.writable(),
            P2mAccess::Execute => entry.kind.executable(),
        };
        if allowed { Ok(entry) } else { Err(P2mError::NotAllowed) }
    }

    /// What is mapped in `pages` guest frames from `gfn`, in order, and how many of the frames the answer covers:
    /// fewer than `pages` when the list is full or the search gets long. Error: [`P2mError::OutOfRange`].
    pub fn scan(&self, gfn: Gfn, pages: u64) -> Result<(Runs, u64), P2mError> {
        let whole = Piece::new(self.geometry, gfn, pages)?;
        if self.has_ended() {
            return Ok((Runs::new(), pages));
        }
        let mut scan = Scan { runs: Runs::new(), steps: STEPS, reached: whole.first };
        for piece in self.roots(whole) {
            let Some(table) = self.root.table(piece.first) else { break };
            if scan.visit(table, piece).is_none() {
                break;
            }
        }
        Ok((scan.runs, scan.reached - whole.first))
    }
}

struct Scan {
    runs: Runs,
    steps: u32,
    reached: u64,
}

impl Scan {
    /// `None`: it ends here.
    fn visit<D: Descriptor>(&mut self, table: View<'_, D>, piece: Piece) -> Option<()> {
        let level = table.level();
        for (index, part) in piece.cut(level) {
            steps::count(steps::SLOT);
            self.steps = self.steps.checked_sub(1)?;
            match table.slot(index) {
                TableSlot::Empty => {}
                TableSlot::Table => self.visit(table.child(index)?, part)?,
                TableSlot::Leaf(leaf) => {
                    let within = part.first & (level.slot_pages() - 1);
                    let run = Run {
                        gfn: Gfn(part.first),
                        mfn: Mfn(leaf.mfn.0 | within),
                        pages: part.pages(),
                        kind: leaf.kind,
                    };
                    Run::append(&mut self.runs, run).then_some(())?;
                }
            }
            self.reached = part.end;
        }
        Some(())
    }
}
