//! Splitting a block: the table that stands for it, less a part, built before anything live changes.

use super::TablePool;
use super::piece::{Piece, slot_start};
use crate::descriptor::Descriptor;
use crate::table::{Index, Leaf, Level, Table};
use xenolith_core::types::Mfn;

/// A table that maps what the block `leaf` of `level` maps, except `hole`, and the number of frames that it took from
/// the pool. `None`, and nothing taken, when the pool has too few.
pub(super) fn without<D: Descriptor>(
    leaf: Leaf,
    level: Level,
    hole: Piece,
    pool: &mut impl TablePool,
) -> Option<(Table<D>, u64)> {
    let below = level.next()?;
    let mut table = Table::new(pool.take()?, below);
    let mut used = 1;
    let first = slot_start(level, hole.first);
    for (index, slot) in (Piece { first, end: first + level.slot_pages() }).cut(below) {
        let part = Leaf { mfn: Mfn(leaf.mfn.0 + (slot.first - first)), ..leaf };
        let cut = Piece { first: slot.first.max(hole.first), end: slot.end.min(hole.end) };
        if cut.first >= cut.end {
            let _set = table.borrow().set(index, part);
        } else if cut != slot {
            // The hole begins or ends in this slot. At most two slots of a table are cut so: three tables for a block
            // of 1 GiB.
            let Some((smaller, more)) = without(part, below, cut, pool) else {
                discard(table, pool);
                return None;
            };
            used += more;
            let _linked = table.borrow().link(index, smaller);
        }
    }
    Some((table, used))
}

/// Gives back the frames of a table that was never linked to live ones.
pub(super) fn discard<D: Descriptor>(mut table: Table<D>, pool: &mut impl TablePool) {
    for index in Index::all() {
        if let Some(child) = table.borrow().unlink(index) {
            discard(child, pool);
        }
    }
    if let Ok(page) = table.into_page() {
        pool.give(page);
    }
}
