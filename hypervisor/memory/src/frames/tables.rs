//! Frames for stage-2 tables, as tokens that nobody else holds.

use super::{Content, FrameError, FrameRange, FrameState, Frames, Kind, Used};
use crate::page::Page;
use crate::table::{RootPages, TablePage};
use xenolith_core::types::{DomId, Mfn};

impl Frames {
    /// Takes one frame for a table of `owner`.
    pub fn alloc_table(&self, owner: DomId) -> Option<TablePage> {
        let mfn = self.take(0..u64::MAX, 0, owner, Kind::Table, Content::Any)?;
        // SAFETY: the frame was just allocated, no other token for it exists, and frames of this kind are given to
        // nobody else until `free_table` takes the token back.
        Some(unsafe { TablePage::new(mfn) })
    }

    /// Access to a frame that serves as a table, to look at it as the MMU does. It serves for as long as the domain's memory
    /// is locked. `None`: the frame is none.
    pub fn table(&self, mfn: Mfn) -> Option<Page> {
        match self.state(mfn) {
            Ok(FrameState::Used(Used { kind: Kind::Table, .. })) => self.page(mfn).ok(),
            _ => None,
        }
    }

    /// Takes 2^order frames in a row for the root of `owner`'s tables.
    pub fn alloc_root(&self, order: u8, owner: DomId) -> Option<RootPages> {
        let mfn = self.take(0..u64::MAX, order, owner, Kind::Table, Content::Any)?;
        // SAFETY: as in `alloc_table`, for each of the frames, which adjoin and are aligned to their number.
        Some(unsafe { RootPages::new(mfn, order) })
    }

    /// Frees a table's frame.
    pub fn free_table(&self, page: TablePage, owner: DomId) -> Result<(), FrameError> {
        self.free_as_tables(FrameRange { first: page.mfn(), pages: 1 }, owner)
    }

    /// Frees the root.
    pub fn free_root(&self, root: RootPages, owner: DomId) -> Result<(), FrameError> {
        self.free_as_tables(FrameRange { first: root.mfn(), pages: 1 << root.order() }, owner)
    }

    fn free_as_tables(&self, range: FrameRange, owner: DomId) -> Result<(), FrameError> {
        self.free_if(range, owner, &mut 0, |kind| kind == Kind::Table).map_err(|(error, _)| error)
    }
}
