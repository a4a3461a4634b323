//! How a chunk is mapped: as a whole, or around the pages that are refused.

use std::sync::atomic::Ordering;
use xenolith_abi::Gfn;

use rustix::io::Errno;

use super::chunk::{Origin, Piece};
use crate::Bank;
use crate::xen::PAGE_SIZE;
use crate::xen::privcmd::Batch;

/// Pages of a batch at most: 128 MiB, the unit in which Linux finds room for other domains' pages.
pub(super) const BATCH_PAGES: u64 = 32768;
/// How often a stretch is tried again around refused pages. The guest may give up pages meanwhile, but not for ever.
const TRIES: u32 = 5;
/// Linux gives a process about 65,000 mappings; a guest that gives up every second page must not use them up.
const MAX_PIECES: usize = 16384;

const PAGE: u64 = PAGE_SIZE as u64;

/// What came of mapping.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// What is mapped, in order.
    pub(super) pieces: Vec<Piece>,
    /// What is not, in order.
    pub(super) holes: Vec<Bank>,
    /// The first frame that was refused, and why.
    pub(super) first_error: Option<(Gfn, Errno)>,
}

/// Frames to be mapped.
struct Stretch {
    first: u64,
    count: u64,
    tries: u32,
}

/// Whether a bank begins and ends on a page, below the end of the address space.
pub(super) fn is_whole_pages(bank: &Bank) -> bool {
    bank.base.is_multiple_of(PAGE)
        && bank.size.is_multiple_of(PAGE)
        && bank.size > 0
        && bank.base.checked_add(bank.size).is_some()
}

/// Maps all of a bank, of [`BATCH_PAGES`] at most, that can be mapped. Between two pieces there is a hole.
pub(super) fn map_all(origin: &Origin, bank: Bank) -> Mapped {
    let (source, domain) = (&*origin.source, origin.domain);
    let mut mapped = Mapped::default();
    let first = bank.base / PAGE;
    let mut left = vec![Stretch { first, count: bank.size / PAGE, tries: 0 }];
    // Not by recursion: the guest says how often a stretch is split.
    while let Some(stretch) = left.pop() {
        let others = origin.mappings.load(Ordering::Relaxed);
        if mapped.pieces.len().saturating_add(others) >= MAX_PIECES || stretch.tries > TRIES {
            mapped.refuse(stretch.first, stretch.count, Errno::NOMEM);
            continue;
        }
        let frames: Vec<Gfn> = (stretch.first..stretch.first + stretch.count).map(Gfn).collect();
        match source.map(domain, &frames) {
            Ok(Batch::Mapped(mapping)) => {
                // A mapping of another length would put all behind it at wrong offsets.
                let whole = u64::try_from(mapping.len()) == Ok(stretch.count * PAGE);
                let offset = usize::try_from((stretch.first - first) * PAGE).ok();
                match offset.filter(|_| whole) {
                    Some(offset) => mapped.pieces.push(Piece { offset, mapping }),
                    None => mapped.refuse(stretch.first, stretch.count, Errno::IO),
                }
            }
            Ok(Batch::Refused(pages)) => stretch.go_around(&pages, &mut mapped, &mut left),
            Err(error) => mapped.refuse(stretch.first, stretch.count, error),
        }
    }
    mapped.tidy();
    mapped
}

impl Stretch {
    /// Makes holes of refused pages, and puts back the stretches between them. `pages` is in order.
    fn go_around(&self, pages: &[(usize, Errno)], mapped: &mut Mapped, left: &mut Vec<Stretch>) {
        let end = self.first.saturating_add(self.count);
        let mut next = self.first;
        for &(index, error) in pages {
            let frame = self.first.saturating_add(index as u64).min(end);
            mapped.refuse(frame, 1, error);
            self.put_back(next, frame, left);
            next = frame.saturating_add(1);
        }
        self.put_back(next, end, left);
    }

    fn put_back(&self, first: u64, end: u64, left: &mut Vec<Stretch>) {
        let count = end.saturating_sub(first);
        if count > 0 {
            left.push(Stretch { first, count, tries: self.tries.saturating_add(1) });
        }
    }
}

impl Mapped {
    fn refuse(&mut self, first: u64, count: u64, error: Errno) {
        if self.first_error.is_none_or(|(frame, _)| first < frame.0) {
            self.first_error = Some((Gfn(first), error));
        }
        self.holes.push(Bank { base: first.saturating_mul(PAGE), size: count.saturating_mul(PAGE) });
    }

    /// Puts all in order, neighbouring holes as one.
    fn tidy(&mut self) {
        self.pieces.sort_by_key(|piece| piece.offset);
        self.holes.sort_by_key(|hole| hole.base);
        self.holes.dedup_by(|next, hole| {
            let joins = hole.base.saturating_add(hole.size) == next.base;
            if joins {
                hole.size = hole.size.saturating_add(next.size);
            }
            joins
        });
    }
}
