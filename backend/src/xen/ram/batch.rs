//! How a chunk is mapped: as a whole, or around the pages that are refused.

use std::ops::Range;
use xenolith_abi::Gfn;

use rustix::io::Errno;

use super::chunk::{Origin, Piece};
use crate::Bank;
use crate::xen::privcmd::Batch;
use crate::xen::{Mapping, PAGE_SIZE};

/// Pages of a batch at most: 128 MiB, the unit in which Linux finds room for other domains' pages.
pub(super) const BATCH_PAGES: u64 = 32768;
/// How often a stretch is tried again around refused pages. The guest may give up pages meanwhile, but not for ever.
const TRIES: u32 = 5;
/// Linux gives a process about 65,000 mappings; a guest that gives up every second page must not use them up.
pub(super) const MAX_PIECES: usize = 16384;

const PAGE: u64 = PAGE_SIZE as u64;

/// What came of mapping.
#[derive(Clone, Debug, Default)]
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

/// Maps what of a bank, of [`BATCH_PAGES`] at most, is not in `known`, as far as it can be mapped. Between two pieces there
/// is a hole, if in `known` there is one at both ends of what is not in it.
pub(super) fn map_rest(origin: &Origin, bank: Bank, known: &Mapped) -> Mapped {
    let (source, domain) = (&*origin.source, origin.domain);
    let mut mapped = known.clone();
    let first = bank.base / PAGE;
    let mut left = known.rest(bank);
    // Not by recursion: the guest says how often a stretch is split.
    while let Some(stretch) = left.pop() {
        if !origin.has_room() || stretch.tries > TRIES {
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
                    Some(offset) => mapped.pieces.push(Piece::new(origin, offset, mapping)),
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

/// What came of a look for a hole.
pub(super) enum Look {
    /// It is as before.
    Hole,
    /// It has become memory, and this is all of the chunk.
    Grown(Mapped),
    /// It has become memory, and what was mapped beside it has not stayed: this is known, and the rest is to be mapped.
    Changed(Mapped),
}

/// Looks by two calls at most whether all of `wanted`, a part of a hole of `mapped`, has become memory. As much of the hole as
/// has come back with it is mapped in one piece, and with what it touches: so there is a hole between two pieces.
pub(super) fn look_again(origin: &Origin, bank: Bank, mapped: &Mapped, wanted: &Range<u64>) -> Look {
    let holes = &mut mapped.holes.iter().map(range);
    let hole = holes.find(|hole| hole.contains(&wanted.start)).filter(|_| origin.has_room());
    let Some(hole) = hole else { return Look::Hole };
    let touches = |place: &Range<u64>| place.end == hole.start || place.start == hole.end;
    let beside = mapped.pieces.iter().map(|piece| piece.place(bank)).filter(touches);
    let whole =
        beside.fold(hole.clone(), |whole, place| whole.start.min(place.start)..whole.end.max(place.end));
    let refused = match try_map(origin, &whole) {
        Tried::Mapped(mapping) => return mapped.with(origin, bank, &whole, mapping),
        Tried::Refused(pages) => pages,
        Tried::Failed => return Look::Hole,
    };
    let there = |place: &Range<u64>| !refused.iter().any(|page| place.contains(page));
    if !there(wanted) {
        return Look::Hole;
    }
    if !(there(&(whole.start..hole.start)) && there(&(hole.end..whole.end))) {
        // Pages beside the hole have left, of which word will come.
        let mut known = mapped.without_pieces(|piece| whole.contains(&piece.place(bank).start));
        known.cut_hole(wanted);
        return Look::Changed(known);
    }
    // The pages around `wanted` that are there.
    let start = refused.iter().filter(|page| **page < wanted.start).max();
    let end = refused.iter().find(|page| **page >= wanted.end);
    let run = start.map_or(whole.start, |page| page.saturating_add(PAGE))..end.copied().unwrap_or(whole.end);
    match try_map(origin, &run) {
        Tried::Mapped(mapping) => mapped.with(origin, bank, &run, mapping),
        _ => Look::Hole,
    }
}

/// What came of mapping pages in one piece.
enum Tried {
    Mapped(Mapping),
    /// The addresses of pages that are not there, in order.
    Refused(Vec<u64>),
    Failed,
}

fn try_map(origin: &Origin, place: &Range<u64>) -> Tried {
    let frames: Vec<Gfn> = (place.start / PAGE..place.end / PAGE).map(Gfn).collect();
    let address = |index: usize| place.start.saturating_add((index as u64).saturating_mul(PAGE));
    match origin.source.map(origin.domain, &frames) {
        // One of another length would put all behind it at wrong offsets.
        Ok(Batch::Mapped(mapping)) if mapping.len() as u64 == place.end.saturating_sub(place.start) => {
            Tried::Mapped(mapping)
        }
        Ok(Batch::Refused(pages)) => {
            Tried::Refused(pages.into_iter().map(|(index, _)| address(index)).collect())
        }
        _ => Tried::Failed,
    }
}

/// The addresses of a bank.
pub(super) fn range(bank: &Bank) -> Range<u64> {
    bank.base..bank.base.saturating_add(bank.size)
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
    /// The stretches of a bank that are neither mapped nor holes.
    fn rest(&self, bank: Bank) -> Vec<Stretch> {
        let pieces = self.pieces.iter().map(|piece| piece.place(bank));
        let holes = self.holes.iter().map(range);
        let mut known: Vec<Range<u64>> = pieces.chain(holes).collect();
        known.sort_by_key(|place| place.start);
        let end = range(&bank).end;
        let mut rest = Vec::new();
        let mut next = bank.base;
        for place in known.into_iter().chain(std::iter::once(end..end)) {
            if place.start > next {
                let count = place.start.saturating_sub(next) / PAGE;
                rest.push(Stretch { first: next / PAGE, count, tries: 0 });
            }
            next = next.max(place.end);
        }
        rest
    }

    /// The same without some pieces, of which nothing is known then.
    pub(super) fn without_pieces(&self, is_out: impl Fn(&Piece) -> bool) -> Mapped {
        let pieces = self.pieces.iter().filter(|piece| !is_out(piece)).cloned().collect();
        Mapped { pieces, holes: self.holes.clone(), first_error: self.first_error }
    }

    /// These and a new piece, which takes the place of holes and of whole pieces.
    fn with(&self, origin: &Origin, bank: Bank, place: &Range<u64>, mapping: Mapping) -> Look {
        let Ok(offset) = usize::try_from(place.start.saturating_sub(bank.base)) else { return Look::Hole };
        let mut mapped = self.without_pieces(|piece| place.contains(&piece.place(bank).start));
        mapped.cut_hole(place);
        mapped.pieces.push(Piece::new(origin, offset, mapping));
        mapped.tidy();
        Look::Grown(mapped)
    }

    /// Makes known of a place that nothing there is a hole.
    fn cut_hole(&mut self, part: &Range<u64>) {
        let cut = |hole: &Bank| {
            let hole = range(hole);
            if hole.end <= part.start || part.end <= hole.start {
                return [hole, 0..0];
            }
            [hole.start..part.start, part.end..hole.end]
        };
        let left = self.holes.iter().flat_map(cut).filter(|hole| hole.start < hole.end);
        self.holes =
            left.map(|hole| Bank { base: hole.start, size: hole.end.saturating_sub(hole.start) }).collect();
    }

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
