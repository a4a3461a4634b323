//! A list of frames for tables that needs no memory of its own.

use super::TablePage;
use crate::page::Page;
use xenolith_core::types::Pa;

/// Frames for tables, the last one in being the first one out. Each holds the address of the next one in its first
/// word, which as a descriptor holds nothing: a table walk that still reaches the frame through a stale TLB entry
/// ends in a fault.
#[derive(Debug, Default)]
pub struct TableList {
    head: Option<TablePage>,
    length: u64,
}

impl TableList {
    /// How many frames the list has.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the list has no frame.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a frame.
    pub fn push(&mut self, page: TablePage) {
        let next = self.head.take().map_or(0, |next| next.mfn().base().0);
        if let Some(word) = page.0.word64(0) {
            word.store(next);
        }
        self.head = Some(page);
        self.length = self.length.saturating_add(1);
    }

    /// Takes a frame out.
    pub fn pop(&mut self) -> Option<TablePage> {
        let page = self.head.take()?;
        let next = page.0.word64(0).map_or(0, |word| word.load());
        if next != 0 {
            // SAFETY: `push` wrote this address from a token that it consumed, and since then nothing else could
            // reach the frame. Frame 0 is never a table's.
            self.head = Some(TablePage(unsafe { Page::new(Pa(next).frame()) }));
        }
        self.length = self.length.saturating_sub(1);
        Some(page)
    }
}
