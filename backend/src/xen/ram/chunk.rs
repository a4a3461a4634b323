//! A chunk of guest RAM: mapped when it is first touched, and then as it is until it goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use xenolith_abi::DomId;

use virtio::core::ram::Backing;
use vm_memory::VolatileSlice;

use super::Foreign;
use super::batch::{self, Mapped};
use crate::Bank;
use crate::xen::{Mapping, PAGE_SIZE};

/// The smallest chunk.
const SMALLEST: u64 = 2 << 20;
/// The largest: what one batch can have.
const LARGEST: u64 = batch::BATCH_PAGES * PAGE_SIZE as u64;
/// More chunks than this are not made if larger ones do.
const MANY: u64 = 8192;

/// Whence the chunks of a guest come.
pub(super) struct Origin {
    pub(super) source: Arc<dyn Foreign>,
    pub(super) domain: DomId,
    /// Mappings that there are now.
    pub(super) mappings: AtomicUsize,
}

/// A stretch of guest RAM.
pub(super) struct Chunk {
    origin: Arc<Origin>,
    bank: Bank,
    mapped: OnceLock<Mapped>,
}

impl Chunk {
    pub(super) fn new(origin: &Arc<Origin>, bank: Bank) -> Chunk {
        Chunk { origin: Arc::clone(origin), bank, mapped: OnceLock::new() }
    }

    /// What is mapped of it; maps it if nobody has yet.
    pub(super) fn mapped(&self) -> &Mapped {
        self.mapped.get_or_init(|| {
            // Counted without an order: two chunks that are mapped at once may go past the limit by a little, which
            // leaves room (`MAX_PIECES`).
            let mapped = batch::map_all(&self.origin, self.bank);
            self.origin.mappings.fetch_add(mapped.pieces.len(), Ordering::Relaxed);
            mapped
        })
    }

    /// What of it was refused. Nothing is known of a chunk that nobody touched.
    pub(super) fn holes(&self) -> &[Bank] {
        self.mapped.get().map_or(&[], |mapped| &mapped.holes)
    }

    /// Whether part of what was refused would not be refused again.
    pub(super) fn has_grown(&self) -> bool {
        let grown = |hole: &Bank| !batch::map_all(&self.origin, *hole).pieces.is_empty();
        self.holes().iter().any(grown)
    }

    pub(super) fn bank(&self) -> Bank {
        self.bank
    }

    /// The last piece that begins at an offset or before it. Behind its end there is a hole.
    #[cold]
    fn piece_before(&self, offset: usize) -> Option<&Piece> {
        let pieces = &self.mapped().pieces;
        let place = pieces.partition_point(|piece| piece.offset <= offset).checked_sub(1)?;
        pieces.get(place)
    }
}

impl Backing for Chunk {
    fn slice(&self, offset: usize, count: usize) -> Option<VolatileSlice<'_>> {
        let piece = match self.mapped.get().map(|mapped| mapped.pieces.as_slice()) {
            // As nearly all chunks are.
            Some([whole]) => whole,
            _ => self.piece_before(offset)?,
        };
        piece.mapping.slice().subslice(offset.checked_sub(piece.offset)?, count).ok()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let count = self.mapped.get().map_or(0, |mapped| mapped.pieces.len());
        self.origin.mappings.fetch_sub(count, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("bank", &self.bank)
            .field("mapped", &self.mapped)
            .finish_non_exhaustive()
    }
}

/// A part of a chunk that is mapped in one piece.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it begins in the chunk, in bytes.
    pub(super) offset: usize,
    pub(super) mapping: Mapping,
}

/// The stretches in which RAM is mapped: they begin and end on multiples of their size, but for the ends of banks.
pub(super) fn cut(banks: &[Bank]) -> Vec<Bank> {
    let total = banks.iter().fold(0u64, |sum, bank| sum.saturating_add(bank.size));
    let mut size = SMALLEST;
    while size < LARGEST && total / size > MANY {
        size = size.saturating_mul(2);
    }
    let mut cuts = Vec::new();
    for bank in banks {
        let end = bank.base.saturating_add(bank.size);
        let mut base = bank.base;
        while base < end {
            let next = (base / size).saturating_add(1).saturating_mul(size).min(end);
            cuts.push(Bank { base, size: next.saturating_sub(base) });
            base = next;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_aligned_and_as_large_as_there_is_much() {
        let mib = |base: u64, size: u64| Bank { base: base << 20, size: size << 20 };
        assert_eq!(cut(&[mib(1, 4), mib(7, 1)]), [mib(1, 1), mib(2, 2), mib(4, 1), mib(7, 1)]);
        assert_eq!(cut(&[mib(0, 16 << 10)]).len(), 8192);
        assert_eq!(cut(&[mib(0, 64 << 10)]).first(), Some(&mib(0, 8)));
        assert_eq!(cut(&[mib(0, 4 << 20)]).first(), Some(&mib(0, 128)));
    }
}
