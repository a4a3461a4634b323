//! Large pieces of RAM for a domain whose guest addresses are machine addresses.

use arrayvec::ArrayVec;

use super::buddy::Buddy;
use super::{Content, FrameError, FrameRange, Frames, Kind, MAX_BANKS, MAX_ORDER};
use xenolith_core::types::{DomId, Mfn, PAGE_SHIFT};

/// The memory of a direct-mapped domain: few large pieces.
pub type Area = ArrayVec<FrameRange, MAX_BANKS>;

/// The first frame that a device with addresses of 32 bits does not reach.
pub const ABOVE_4_GIB: Mfn = Mfn(1 << (32 - PAGE_SHIFT));

/// The most pieces that are taken for being low ([`Frames::alloc_below_first`]): what is scattered stays for others.
pub const LOW_PIECES: usize = 4;

impl Frames {
    /// Takes `pages` frames of RAM for `owner` in as few pieces as possible, zeroed, with no piece smaller than
    /// 2^align_order frames except the last. One piece that is large enough is preferred, with its first frame
    /// aligned to 1 GiB, then 2 MiB, then 2^align_order frames; otherwise the largest pieces are taken first.
    /// `None`, and nothing taken, when that does not yield `pages` frames.
    pub fn alloc_contiguous(&self, pages: u64, align_order: u8, owner: DomId) -> Option<Area> {
        self.alloc_area(pages, align_order, &[], owner)
    }

    /// As [`Self::alloc_contiguous`], but frames below the first of `limits` come first, then those below the next: up to
    /// [`LOW_PIECES`] pieces of RAM there, the largest. Fewer of them if the rest is in too many pieces otherwise.
    pub fn alloc_below_first(
        &self,
        pages: u64,
        align_order: u8,
        limits: &[Mfn],
        owner: DomId,
    ) -> Option<Area> {
        self.alloc_area(pages, align_order, limits, owner)
    }

    fn alloc_area(&self, pages: u64, align_order: u8, limits: &[Mfn], owner: DomId) -> Option<Area> {
        if align_order > MAX_ORDER || pages == 0 {
            return None;
        }
        let area = self.take_area(pages, align_order, limits)?;
        for &piece in &area {
            self.hand_out(piece, owner, Kind::Ram, Content::Zeroed);
        }
        Some(area)
    }

    /// Takes exactly these frames for `owner`, zeroed. False, and nothing taken, when one of them is not free RAM.
    pub fn alloc_exact(&self, range: FrameRange, owner: DomId) -> bool {
        let taken = range.pages > 0 && range.numbers().is_some() && self.buddy.lock().take_range(range);
        if taken {
            self.hand_out(range, owner, Kind::Ram, Content::Zeroed);
        }
        taken
    }

    /// Gives RAM that nobody else refers to from one owner to another. An error stops at the frame that caused it; those
    /// before it have their new owner.
    pub fn transfer(&self, range: FrameRange, from: DomId, to: DomId) -> Result<(), FrameError> {
        range
            .numbers()
            .ok_or(FrameError::NotRam)?
            .try_for_each(|number| self.entry(Mfn(number))?.transfer(from, to))
    }

    fn take_area(&self, pages: u64, align_order: u8, limits: &[Mfn]) -> Option<Area> {
        // Held for all pieces: they are chosen by what is free, which nobody may change in between.
        let mut buddy = self.buddy.lock();
        let most = if limits.is_empty() { 0 } else { LOW_PIECES };
        (0..=most).rev().find_map(|low| take_pieces(&mut buddy, pages, align_order, limits, low))
    }
}

/// Takes up to `low` pieces for what they have below a limit, and the rest for their size.
fn take_pieces(buddy: &mut Buddy, pages: u64, align_order: u8, limits: &[Mfn], low: usize) -> Option<Area> {
    let mut area = Area::new();
    let mut left = pages;
    while left > 0 && !area.is_full() {
        let limits = if area.len() < low { limits } else { &[] };
        let below = limits.iter().find_map(|limit| largest(buddy, left, align_order, limit.0));
        let piece = below.or_else(|| largest(buddy, left, align_order, u64::MAX));
        let Some(piece) = piece.filter(|&piece| buddy.take_range(piece)) else { break };
        left = left.saturating_sub(piece.pages);
        match area.last_mut().filter(|last| last.end() == piece.first.0) {
            Some(last) => last.pages = last.pages.saturating_add(piece.pages),
            None => area.push(piece),
        }
    }
    if left == 0 {
        return Some(area);
    }
    for piece in area {
        buddy.give(piece);
    }
    None
}

/// The largest free piece of at most `wanted` frames below `limit`.
fn largest(buddy: &Buddy, wanted: u64, align_order: u8, limit: u64) -> Option<FrameRange> {
    let mut best: Option<FrameRange> = None;
    // The domain's addresses are the machine's, so that only what is aligned is mapped by blocks of 1 GiB or 2 MiB.
    let orders = [MAX_ORDER, 9, align_order];
    for order in orders.into_iter().filter(|&order| order >= align_order) {
        let mut from = 0;
        while let Some(mut run) = buddy.next_run(from).filter(|run| run.first.0 < limit) {
            from = run.end();
            run.pages = from.min(limit).saturating_sub(run.first.0);
            let Some(piece) = aligned(run, order, align_order, wanted) else { continue };
            if best.is_none_or(|best| piece.pages > best.pages) {
                best = Some(piece);
            }
        }
        if best.is_some_and(|best| best.pages == wanted) {
            break;
        }
    }
    best
}

/// The part of a free run that begins at a multiple of 2^order frames, at most `wanted` frames of it, and a multiple
/// of 2^granule unless it is all that is wanted.
fn aligned(run: FrameRange, order: u8, granule: u8, wanted: u64) -> Option<FrameRange> {
    let first = run.first.0.checked_next_multiple_of(1 << order)?;
    let there = run.end().checked_sub(first)?;
    let pages = if there >= wanted { wanted } else { there >> granule << granule };
    (pages > 0).then_some(FrameRange { first: Mfn(first), pages })
}
