//! A chunk of guest RAM: mapped when it is first touched, and then as it is until it goes.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use xenolith_abi::DomId;

use virtio::core::ram::{Backing, StalePages};
use vm_memory::VolatileSlice;

use super::Foreign;
use super::batch::{self, Look, MAX_PIECES, Mapped};
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
    pub(super) mappings: Arc<AtomicUsize>,
}

impl Origin {
    /// Whether there may be another mapping. Counted without an order: two chunks that are mapped at once may go past the
    /// limit by a little, which leaves room (`MAX_PIECES`).
    pub(super) fn has_room(&self) -> bool {
        self.mappings.load(Ordering::Relaxed) < MAX_PIECES
    }
}

/// A stretch of guest RAM.
pub(super) struct Chunk {
    origin: Arc<Origin>,
    bank: Bank,
    /// What is known of it before it is touched.
    known: Mapped,
    mapped: OnceLock<Mapped>,
}

impl Chunk {
    pub(super) fn new(origin: &Arc<Origin>, bank: Bank) -> Chunk {
        Chunk::with(origin, bank, Mapped::default())
    }

    fn with(origin: &Arc<Origin>, bank: Bank, known: Mapped) -> Chunk {
        Chunk { origin: Arc::clone(origin), bank, known, mapped: OnceLock::new() }
    }

    /// What is mapped of it; maps what nobody has touched yet.
    pub(super) fn mapped(&self) -> &Mapped {
        self.mapped.get_or_init(|| batch::map_rest(&self.origin, self.bank, &self.known))
    }

    /// What is mapped of it now.
    fn now(&self) -> &Mapped {
        self.mapped.get().unwrap_or(&self.known)
    }

    /// What of it was refused. Nothing is known of what nobody touched.
    pub(super) fn holes(&self) -> &[Bank] {
        &self.now().holes
    }

    /// The part of its first hole within `wanted`, in whole pages.
    pub(super) fn first_hole(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        let page = PAGE_SIZE as u64;
        let (start, end) = (wanted.start / page * page, wanted.end.checked_next_multiple_of(page)?);
        let mut holes = self.mapped().holes.iter().map(batch::range);
        let hole = holes.find(|hole| hole.start < end && start < hole.end)?;
        Some(hole.start.max(start)..hole.end.min(end))
    }

    /// The chunk with a part of a hole as memory, if it has become that.
    pub(super) fn grown(&self, hole: &Range<u64>) -> Option<Chunk> {
        match batch::look_again(&self.origin, self.bank, self.mapped(), hole) {
            Look::Hole => None,
            Look::Changed(known) => Some(Chunk::with(&self.origin, self.bank, known)),
            Look::Grown(mapped) => {
                let chunk = Chunk::new(&self.origin, self.bank);
                Some(Chunk { mapped: mapped.into(), ..chunk })
            }
        }
    }

    /// The chunk without the pieces in which pages are that have left. `None`: there are none.
    pub(super) fn without(&self, stale: &StalePages) -> Option<Chunk> {
        let is_out = |piece: &Piece| {
            let place = piece.place(self.bank);
            stale.touch(Bank { base: place.start, size: place.end.saturating_sub(place.start) })
        };
        let now = self.now();
        now.pieces
            .iter()
            .any(is_out)
            .then(|| Chunk::with(&self.origin, self.bank, now.without_pieces(is_out)))
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
        piece.mapping().slice().subslice(offset.checked_sub(piece.offset)?, count).ok()
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("bank", &self.bank)
            .field("known", &self.known)
            .field("mapped", &self.mapped)
            .finish_non_exhaustive()
    }
}

/// A part of a chunk that is mapped in one piece. A copy is the same piece.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Where it begins in the chunk, in bytes.
    pub(super) offset: usize,
    counted: Arc<Counted>,
}

/// A mapping that counts as long as it is there.
#[derive(Debug)]
struct Counted {
    mapping: Mapping,
    mappings: Arc<AtomicUsize>,
}

impl Piece {
    pub(super) fn new(origin: &Origin, offset: usize, mapping: Mapping) -> Piece {
        origin.mappings.fetch_add(1, Ordering::Relaxed);
        Piece { offset, counted: Arc::new(Counted { mapping, mappings: Arc::clone(&origin.mappings) }) }
    }

    #[inline]
    pub(super) fn mapping(&self) -> &Mapping {
        &self.counted.mapping
    }

    /// Its addresses, in a chunk of this bank.
    pub(super) fn place(&self, bank: Bank) -> Range<u64> {
        let start = bank.base.saturating_add(self.offset as u64);
        start..start.saturating_add(self.mapping().len() as u64)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.mappings.fetch_sub(1, Ordering::Relaxed);
    }
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
