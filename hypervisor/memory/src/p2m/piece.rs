//! Ranges of guest frames, checked once, and cut along the slots of a table.

use super::{Geometry, P2mError};
use crate::table::{Index, Level};
use xenolith_core::types::{Gfn, Mfn};

/// Guest frames that all lie below the limit, so that arithmetic on them cannot overflow. `end` is one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub first: u64,
    pub end: u64,
}

impl Piece {
    /// Checks a range that a caller named (Xen's advisories 301 and 437).
    #[inline]
    pub fn new(geometry: Geometry, gfn: Gfn, pages: u64) -> Result<Self, P2mError> {
        let end = gfn.0.checked_add(pages).ok_or(P2mError::OutOfRange)?;
        // An empty range ends where it begins: its first frame is looked at for itself.
        if gfn >= geometry.end() || end > geometry.end().0 {
            return Err(P2mError::OutOfRange);
        }
        Ok(Piece { first: gfn.0, end })
    }

    /// The part of it in the reach of each slot of a table of `level`, in order. The piece lies in one table's reach.
    pub fn cut(self, level: Level) -> impl Iterator<Item = (Index, Piece)> {
        let mut first = self.first;
        core::iter::from_fn(move || {
            if first >= self.end {
                return None;
            }
            let part = Piece { first, end: self.end.min(slot_start(level, first) + level.slot_pages()) };
            first = part.end;
            Some((level.index(part.first), part))
        })
    }

    /// The part of it in the reach of a table that resolves `pages` frames, aligned to their number.
    pub fn within(self, pages: u64) -> Piece {
        Piece { first: self.first, end: self.end.min(self.first - self.first % pages + pages) }
    }

    pub fn pages(self) -> u64 {
        self.end - self.first
    }

    /// Whether it is all that one slot of `level` reaches.
    pub fn fills_slot(self, level: Level) -> bool {
        self.pages() == level.slot_pages()
    }
}

/// The first frame in the reach of the slot that leads to `frame`.
pub(super) fn slot_start(level: Level, frame: u64) -> u64 {
    frame >> level.order() << level.order()
}

/// Guest frames and the machine frames that stand behind them in the same order, or shall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backing {
    gfn: u64,
    mfn: u64,
}

impl Backing {
    /// Checks the machine side of a range.
    pub fn new(geometry: Geometry, piece: Piece, mfn: Mfn) -> Result<Self, P2mError> {
        match mfn.0.checked_add(piece.pages()) {
            Some(end) if end <= geometry.machine_end().0 => Ok(Backing { gfn: piece.first, mfn: mfn.0 }),
            _ => Err(P2mError::OutOfRange),
        }
    }

    /// The machine frame behind a guest frame of the range.
    pub fn of(self, gfn: u64) -> Mfn {
        Mfn(self.mfn + (gfn - self.gfn))
    }

    /// Whether a slot of `level` can map a part of the range as one leaf.
    pub fn fits_leaf(self, level: Level, part: Piece) -> bool {
        level.has_leaves()
            && part.fills_slot(level)
            && self.of(part.first).0.is_multiple_of(level.slot_pages())
    }
}
