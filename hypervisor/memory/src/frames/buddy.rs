//! Which frames are free: blocks of 2^order frames, aligned to their size, in one [`Bitmap`] per order and bank.
//!
//! A free frame lies in exactly one free block, and two free buddies are always merged. Every call costs a number of
//! steps that depends on the orders and banks there are, never on how memory was used before.

use alloc::vec::Vec;
use core::ops::Range;

use arrayvec::ArrayVec;

use super::promise::{Promises, Short};
use super::{FrameRange, MAX_ORDER};
use crate::bitmap::Bitmap;
use xenolith_core::bug;
use xenolith_core::types::Mfn;
use xenolith_hw::steps;

const ORDERS: usize = MAX_ORDER as usize + 1;

/// Words of bitmap storage for one bank.
pub(super) const fn words_needed(bank: FrameRange) -> usize {
    let mut sum = 0;
    let mut order = 0;
    while order <= MAX_ORDER {
        sum += Bitmap::words_needed(blocks(bank, order));
        order += 1;
    }
    sum
}

/// How many blocks of `order` a bank touches.
const fn blocks(bank: FrameRange, order: u8) -> usize {
    if bank.pages == 0 {
        return 0;
    }
    let last = bank.first.0 + (bank.pages - 1);
    ((last >> order) - (bank.first.0 >> order) + 1) as usize
}

/// The free blocks of one bank.
struct Zone {
    range: Range<u64>,
    sets: ArrayVec<Bitmap, ORDERS>,
}

impl Zone {
    /// The number of the block that `frame` lies in, which need not be its first frame, counted from the first block of
    /// its order that the bank touches.
    fn number(&self, frame: u64, order: u8) -> Option<usize> {
        usize::try_from((frame >> order).checked_sub(self.range.start >> order)?).ok()
    }

    fn set(&mut self, order: u8) -> Option<&mut Bitmap> {
        self.sets.get_mut(usize::from(order))
    }

    fn has(&self, frame: u64, order: u8) -> bool {
        match (self.number(frame, order), self.sets.get(usize::from(order))) {
            (Some(number), Some(set)) => set.contains(number),
            _ => false,
        }
    }

    fn add(&mut self, frame: u64, order: u8) -> bool {
        let number = self.number(frame, order);
        number.is_some_and(|number| self.set(order).is_some_and(|set| set.insert(number)))
    }

    fn remove(&mut self, frame: u64, order: u8) -> bool {
        let number = self.number(frame, order);
        number.is_some_and(|number| self.set(order).is_some_and(|set| set.remove(number)))
    }

    /// The order of the free block that holds `frame`, if it is at least `least`.
    fn order_of(&self, frame: u64, least: u8) -> Option<u8> {
        (least..=MAX_ORDER).find(|&order| self.has(frame, order))
    }

    /// The first frame of the first free block of `order` that ends after `from`.
    fn next(&self, from: u64, order: u8) -> Option<u64> {
        let from = self.number(from.max(self.range.start), order)?;
        let number = self.sets.get(usize::from(order))?.next_from(from)?;
        (self.range.start >> order).checked_add(u64::try_from(number).ok()?).map(|block| block << order)
    }

    fn give(&mut self, frame: u64, order: u8) -> bool {
        steps::count(steps::BLOCK);
        if self.order_of(frame, 0).is_some() {
            return false;
        }
        let mut order = order;
        // A buddy outside the bank is in no set, so that no block reaches over the bank's end. `frame` may come to lie
        // in the middle of the block: its number is the same from any of its frames.
        while order < MAX_ORDER && self.remove(frame ^ (1 << order), order) {
            order += 1;
        }
        self.add(frame, order)
    }

    /// Takes exactly this block, out of a larger one if need be.
    fn take_at(&mut self, frame: u64, order: u8) -> bool {
        steps::count(steps::BLOCK);
        let Some(found) = self.order_of(frame, order) else { return false };
        self.remove(frame, found);
        for half in (order..found).rev() {
            // Of each halving, the half without `frame` stays free.
            let other = ((frame >> half) ^ 1) << half;
            self.add(other, half);
        }
        true
    }

    /// Takes a block that lies in `within`, from the smallest free block that will do.
    fn take(&mut self, order: u8, within: &Range<u64>) -> Option<u64> {
        let size = 1_u64 << order;
        let low = within.start.max(self.range.start).checked_next_multiple_of(size)?;
        let high = within.end.min(self.range.end);
        for from in order..=MAX_ORDER {
            let mut search = low;
            // Only the blocks at the two ends of the range can be too small a part of it.
            for _ in 0..3 {
                let Some(start) = self.next(search, from) else { break };
                let frame = start.max(low);
                if frame.checked_add(size).is_none_or(|end| end > high) {
                    break;
                }
                if frame.checked_add(size)? <= start.checked_add(1 << from)? && self.take_at(frame, order) {
                    return Some(frame);
                }
                search = start.checked_add(1 << from)?;
            }
        }
        None
    }
}

/// The free frames of the machine.
pub(super) struct Buddy {
    /// On the heap: half a KiB for each bank is too much to be moved about on the boot's stack.
    zones: Vec<Zone>,
    free: u64,
    /// Frames that are out for a while, and come back free.
    lent: u64,
    /// Of the free ones, those that only a promise takes.
    promises: Promises,
}

impl Buddy {
    /// Nothing free. `storage` has [`words_needed`] words for each bank, in order. `None` when it is short, or
    /// the heap.
    pub fn new(banks: &[FrameRange], storage: &'static mut [u64]) -> Option<Self> {
        let mut zones = Vec::new();
        zones.try_reserve_exact(banks.len()).ok()?;
        let mut rest = storage;
        for &bank in banks {
            let mut sets = ArrayVec::new();
            for order in 0..=MAX_ORDER {
                let bits = blocks(bank, order);
                let (words, after) = rest.split_at_mut_checked(Bitmap::words_needed(bits))?;
                rest = after;
                sets.try_push(Bitmap::new(words, bits)?).ok()?;
            }
            zones.push(Zone { range: bank.numbers()?, sets });
        }
        Some(Buddy { zones, free: 0, lent: 0, promises: Promises::default() })
    }

    /// How many frames are free, those that are lent among them.
    pub fn free_frames(&self) -> u64 {
        self.free.saturating_add(self.lent)
    }

    /// How many of them were promised.
    pub fn promised_frames(&self) -> u64 {
        self.promises.kept()
    }

    /// How many of them nobody was promised.
    pub fn available_frames(&self) -> u64 {
        self.promises.left(self.free_frames())
    }

    /// Promises frames: from now on so many stay free for [`Self::take_promised`].
    pub fn promise(&mut self, pages: u64) -> Result<(), Short> {
        // What is lent does not count: a promise holds at every moment.
        self.promises.promise(pages, self.free)
    }

    /// Ends a promise of which nothing is taken.
    pub fn end_promise(&mut self, pages: u64) {
        if !self.promises.end(pages) {
            bug!("a promise of {pages} frames ends that was not made, or whose frames are not back");
        }
    }

    /// Takes a frame of those that were promised: until it is given back, or for good.
    pub fn take_promised(&mut self, for_good: bool) -> Option<Mfn> {
        if !(if for_good { self.promises.spend() } else { self.promises.take() }) {
            return None;
        }
        let frame = self.take_block(0, &(0..u64::MAX));
        if frame.is_none() {
            bug!("a frame was promised and is not there");
        }
        frame
    }

    /// Gives a frame back that was taken for a promise.
    pub fn give_promised(&mut self, frame: Mfn) {
        if !self.promises.give_back() {
            bug!("{frame} was taken without a promise");
        }
        self.give(FrameRange { first: frame, pages: 1 });
    }

    /// Whether so many frames can go to somebody to whom they were not promised.
    fn spares(&self, pages: u64) -> bool {
        self.promises.left(self.free) >= pages
    }

    fn zone(&mut self, frame: u64) -> Option<&mut Zone> {
        self.zones.iter_mut().find(|zone| zone.range.contains(&frame))
    }

    /// Gives back a range, in the largest aligned blocks that lie in one bank. A block that begins in a free one is left
    /// as it was.
    pub fn give(&mut self, range: FrameRange) {
        for zone in &mut self.zones {
            let first = range.first.0.max(zone.range.start);
            let end = range.end().min(zone.range.end);
            let inside = FrameRange { first: Mfn(first), pages: end.saturating_sub(first) };
            for (frame, order) in pieces(inside) {
                if zone.give(frame, order) {
                    self.free = self.free.saturating_add(1 << order);
                } else {
                    bug!("frame {frame:#x} is given back and free");
                }
            }
        }
    }

    /// Takes a block of 2^order frames that lies in `within`, none of which was promised to others.
    pub fn take(&mut self, order: u8, within: &Range<u64>) -> Option<Mfn> {
        if self.spares(1 << order) { self.take_block(order, within) } else { None }
    }

    /// The block that [`Self::take`] would take anywhere.
    pub fn next_taken(&mut self, order: u8) -> Option<FrameRange> {
        // Taken and given back under one lock: nobody sees the difference.
        let range = FrameRange { first: self.take(order, &(0..u64::MAX))?, pages: 1 << order };
        self.give(range);
        Some(range)
    }

    fn take_block(&mut self, order: u8, within: &Range<u64>) -> Option<Mfn> {
        let frame = self.zones.iter_mut().find_map(|zone| zone.take(order, within))?;
        self.free = self.free.saturating_sub(1 << order);
        Some(Mfn(frame))
    }

    /// Takes all of a range that [`Self::next_run`] found; false, and nothing taken, when a part of it is not free, or was
    /// promised to others.
    pub fn take_range(&mut self, range: FrameRange) -> bool {
        if !self.spares(range.pages) {
            return false;
        }
        let mut taken = 0;
        for (frame, order) in pieces(range) {
            if !self.take_pieces(frame, order) {
                // Undone under the same lock: nobody has seen the half of it.
                self.give(FrameRange { first: range.first, pages: taken });
                return false;
            }
            taken += 1 << order;
        }
        true
    }

    /// As [`Self::take_range`], but only for a while: the range counts as free until [`Self::give_lent`] ends that.
    pub fn lend(&mut self, range: FrameRange) -> bool {
        let taken = self.take_range(range);
        if taken {
            self.lent = self.lent.saturating_add(range.pages);
        }
        taken
    }

    /// Gives back what was lent.
    pub fn give_lent(&mut self, range: FrameRange) {
        self.lent = self.lent.saturating_sub(range.pages);
        self.give(range);
    }

    /// Takes an aligned block that may lie in several smaller free blocks, which then are whole blocks.
    fn take_pieces(&mut self, frame: u64, order: u8) -> bool {
        let end = frame.saturating_add(1 << order);
        let mut at = frame;
        while at < end {
            let Some(zone) = self.zone(at) else { break };
            let Some(found) = zone.order_of(at, 0) else { break };
            let piece = found.min(order);
            if !zone.take_at(at, piece) {
                break;
            }
            self.free = self.free.saturating_sub(1 << piece);
            at = at.saturating_add(1 << piece);
        }
        if at < end {
            self.give(FrameRange { first: Mfn(frame), pages: at - frame });
        }
        at >= end
    }

    /// The first free block that ends after `from`, cut to begin no earlier than `from`.
    pub fn next_block(&self, from: u64) -> Option<FrameRange> {
        let block = self
            .zones
            .iter()
            .flat_map(|zone| (0..=MAX_ORDER).filter_map(move |order| Some((zone.next(from, order)?, order))))
            .min()?;
        let (start, order) = block;
        let end = start.checked_add(1 << order)?;
        let first = start.max(from);
        Some(FrameRange { first: Mfn(first), pages: end.checked_sub(first)? })
    }

    /// The first run of free frames at or after `from`: adjoining free blocks of one bank taken as one.
    pub fn next_run(&self, from: u64) -> Option<FrameRange> {
        let mut run = self.next_block(from)?;
        while let Some(more) = self.next_block(run.end()) {
            let other_bank = self.zones.iter().any(|zone| zone.range.start == more.first.0);
            if more.first.0 != run.end() || other_bank {
                break;
            }
            run.pages = run.pages.checked_add(more.pages)?;
        }
        Some(run)
    }

    /// Whether `frame` lies in a free block.
    pub fn is_free(&self, frame: u64) -> bool {
        self.zones
            .iter()
            .filter(|zone| zone.range.contains(&frame))
            .any(|zone| zone.order_of(frame, 0).is_some())
    }
}

/// Cuts a range into aligned blocks, each as large as fits: (first frame, order).
fn pieces(range: FrameRange) -> impl Iterator<Item = (u64, u8)> {
    let mut at = range.first.0;
    let end = range.end();
    core::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|&left| left > 0)?;
        let fits = left.ilog2().min(at.trailing_zeros()).min(u32::from(MAX_ORDER));
        let piece = (at, fits as u8);
        at = at.checked_add(1 << fits)?;
        Some(piece)
    })
}
