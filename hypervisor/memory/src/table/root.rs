//! The first tables of a walk: up to 16 in a row, which the hardware takes as one.

use core::marker::PhantomData;

use super::{ENTRIES, Level, TableMut, View};
use crate::descriptor::Descriptor;
use crate::page::Page;
use xenolith_core::types::Mfn;

/// Neighbouring frames for the tables where a walk begins, held by nobody else.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct RootPages {
    first: Mfn,
    order: u8,
}

impl RootPages {
    /// Wraps 2^order frames, the first aligned to their number.
    ///
    /// # Safety
    /// As for [`super::TablePage::new`], for each of the frames.
    pub unsafe fn new(first: Mfn, order: u8) -> Self {
        RootPages { first, order }
    }

    /// The first frame.
    pub fn mfn(&self) -> Mfn {
        self.first
    }

    /// log2 of the number of frames.
    pub fn order(&self) -> u8 {
        self.order
    }
}

/// The tables where a walk begins.
pub struct Root<D> {
    first: Mfn,
    pages: Option<RootPages>,
    level: Level,
    format: PhantomData<D>,
}

impl<D: Descriptor> Root<D> {
    /// Empty tables for a walk that begins at `level`.
    pub fn new(pages: RootPages, level: Level) -> Self {
        let root = Root { first: pages.first, pages: Some(pages), level, format: PhantomData };
        for number in 0..root.tables() {
            root.page(number).zero();
        }
        root
    }

    /// The first frame, where the hardware begins.
    pub fn mfn(&self) -> Mfn {
        self.first
    }

    /// How many tables there are in a row: none when they were taken away.
    pub fn tables(&self) -> u64 {
        self.pages.as_ref().map_or(0, |pages| 1 << pages.order)
    }

    /// Pages in the reach of one of the tables.
    pub fn table_pages(&self) -> u64 {
        self.level.slot_pages() * ENTRIES as u64
    }

    fn page(&self, number: u64) -> Page {
        // SAFETY: `RootPages::new`'s caller handed over this frame, `number` being below the number of frames, and the
        // token has not been taken away, or there would be no such number.
        unsafe { Page::new(Mfn(self.first.0 + number)) }
    }

    /// The table that a walk for `frame` begins in.
    #[inline]
    pub fn table(&self, frame: u64) -> Option<View<'_, D>> {
        let number = frame / self.table_pages();
        (number < self.tables()).then(|| View {
            page: self.page(number),
            level: self.level,
            linked: PhantomData,
        })
    }

    /// The table that a walk for `frame` begins in, to change it.
    pub fn table_mut(&mut self, frame: u64) -> Option<TableMut<'_, D>> {
        self.table(frame).map(TableMut)
    }

    /// Takes the frames away, when nothing is mapped any more; nothing can be found or mapped after that. `None` when
    /// something is mapped, and when they were taken before.
    pub fn take_pages(&mut self) -> Option<RootPages> {
        let empty = (0..self.tables())
            .all(|number| self.table(number * self.table_pages()).is_none_or(super::View::is_empty));
        if empty { self.pages.take() } else { None }
    }
}
