//! Adding mappings where there are none: look first, take the tables that it needs, then write. So a call either maps
//! all that was asked for or changes nothing, and it never flushes.

use super::piece::{Backing, Piece};
use super::pool::{give_all, take_all};
use super::{MapKind, P2m, P2mError, TablePool, Tlb};
use crate::descriptor::Descriptor;
use crate::table::{Leaf, Level, Table, TableList, TableMut, TableSlot, View};
use xenolith_core::bug;
use xenolith_core::types::{Gfn, Mfn};

impl<P: TablePool, T: Tlb> P2m<P, T> {
    /// Maps `pages` guest frames from `gfn` to machine frames from `mfn`, in blocks of 1 GiB and 2 MiB where they fit.
    /// The caller has taken a reference for each frame that counts references.
    ///
    /// Errors, with nothing changed: [`P2mError::OutOfRange`], [`P2mError::Occupied`] when one of the frames is
    /// mapped, [`P2mError::NoTables`].
    pub fn map(&mut self, gfn: Gfn, mfn: Mfn, pages: u64, kind: MapKind) -> Result<(), P2mError> {
        let whole = Piece::new(self.geometry, gfn, pages)?;
        let backing = Backing::new(self.geometry, whole, mfn)?;
        if self.has_ended() {
            return Err(P2mError::NoTables);
        }
        let mut need = 0;
        for piece in self.roots(whole) {
            let table = self.root.table(piece.first);
            // Over the whole range before anything is written: a frame that is occupied, or a table that is missing,
            // changes nothing.
            need += tables_needed(table, self.geometry.level(), piece, backing)?;
        }
        let mut spare = take_all(&mut self.pool, need).ok_or(P2mError::NoTables)?;
        for piece in self.roots(whole) {
            if let Some(mut table) = self.root.table_mut(piece.first) {
                fill(&mut table, piece, backing, kind, &mut spare);
            }
        }
        self.tables += need - spare.len();
        give_all(&mut self.pool, spare);
        if whole.pages() > 0 {
            self.highest = self.highest.max(Some(Gfn(whole.end - 1)));
        }
        // Once for all. No flush: an entry that gave a translation fault is in no TLB, by the architecture.
        self.tlb.publish();
        Ok(())
    }
}

/// How many tables are missing for a range that no slot may already map. Without a table, all of it is missing.
fn tables_needed<D: Descriptor>(
    table: Option<View<'_, D>>,
    level: Level,
    piece: Piece,
    backing: Backing,
) -> Result<u64, P2mError> {
    let mut need = 0;
    for (index, part) in piece.cut(level) {
        match table.map_or(TableSlot::Empty, |table| table.slot(index)) {
            TableSlot::Leaf(_) => return Err(P2mError::Occupied),
            TableSlot::Empty if backing.fits_leaf(level, part) => {}
            slot => {
                // A table that is there already may lack others below.
                need += u64::from(slot == TableSlot::Empty);
                if let Some(next) = level.next() {
                    let child = table.and_then(|table| table.child(index));
                    need += tables_needed(child, next, part, backing)?;
                }
            }
        }
    }
    Ok(need)
}

/// Writes the leaves of a range that [`tables_needed`] found free, with tables from `spare`.
fn fill<D: Descriptor>(
    table: &mut TableMut<'_, D>,
    piece: Piece,
    backing: Backing,
    kind: MapKind,
    spare: &mut TableList,
) {
    let level = table.view().level();
    for (index, part) in piece.cut(level) {
        let slot = table.view().slot(index);
        if slot == TableSlot::Empty && backing.fits_leaf(level, part) {
            let _set = table.set(index, Leaf { mfn: backing.of(part.first), kind });
            continue;
        }
        if slot == TableSlot::Empty {
            let (Some(next), Some(page)) = (level.next(), spare.pop()) else {
                return bug!("fewer tables than were counted");
            };
            // Filled before it is linked: a walk sees all of it or nothing.
            let mut new = Table::new(page, next);
            fill(&mut new.borrow(), part, backing, kind, spare);
            let _linked = table.link(index, new);
        } else if let Some(mut child) = table.child(index) {
            fill(&mut child, part, backing, kind, spare);
        }
    }
}
