//! Arrays that grow at a guest's wish, up to a limit that is known from the start: one page after the other.
//!
//! All that such an array will ever take are pages, so that its cost is known exactly before the first of them is taken
//! ([`Pieces::pages`]). On the machine each is a frame of those that were promised to the domain (`Frames::promise`): nothing is
//! split, nothing is lost between the pieces, and all goes back with the array. The list of the pieces is made with the array.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::PAGE_SIZE;

#[cfg(target_os = "none")]
pub use source::take_from;

/// Pages out of the machine's frames.
#[cfg(target_os = "none")]
mod source {
    use core::ptr::NonNull;

    use crate::frames::Frames;
    use xenolith_core::sync::Once;
    use xenolith_core::types::Pa;

    static FRAMES: Once<&'static Frames> = Once::new();

    /// Says whose frames the pages are. Before that there are none.
    pub fn take_from(frames: &'static Frames) {
        FRAMES.call_once(|| frames);
    }

    /// A page that is nobody else's.
    pub(super) fn take() -> Option<NonNull<u8>> {
        NonNull::new(FRAMES.get()?.alloc_promised()?.base().0 as *mut u8)
    }

    /// Gives a page back that nobody reaches any more.
    pub(super) fn give_back(page: NonNull<u8>) {
        if let Some(frames) = FRAMES.get() {
            frames.free_promised(Pa(page.addr().get() as u64).frame());
        }
    }
}

/// Pages out of the host's heap.
#[cfg(not(target_os = "none"))]
mod source {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    use super::PAGE_SIZE;

    fn layout() -> Layout {
        Layout::from_size_align(PAGE_SIZE as usize, PAGE_SIZE as usize).expect("a page is a layout")
    }

    pub(super) fn take() -> Option<NonNull<u8>> {
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { alloc::alloc::alloc(layout()) })
    }

    pub(super) fn give_back(page: NonNull<u8>) {
        // SAFETY: all pages come from `take`, with this layout.
        unsafe { alloc::alloc::dealloc(page.as_ptr(), layout()) };
    }
}

/// Why an array did not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowError {
    /// It is as large as it may be.
    Full,
    /// There is no memory.
    Memory,
}

/// A page full of elements.
struct Piece<T>(NonNull<T>);

impl<T> Piece<T> {
    /// Elements in it: a power of two, so that a number is split by its bits.
    const LEN: usize = 1 << (PAGE_SIZE as usize / size_of::<T>()).ilog2();

    /// A page of elements, each made of its number in the page. `None`: no memory.
    fn try_new(mut make: impl FnMut(usize) -> T) -> Option<Self> {
        const { assert!(align_of::<T>() <= PAGE_SIZE as usize && size_of::<T>() <= PAGE_SIZE as usize) };
        let first: NonNull<T> = source::take()?.cast();
        for index in 0..Self::LEN {
            // SAFETY: the page has room for `LEN` elements, and is nobody else's. Should `make` panic, the page is lost.
            unsafe { first.add(index).write(make(index)) };
        }
        Some(Piece(first))
    }

    #[inline(always)]
    fn elements(&self) -> &[T] {
        // SAFETY: all `LEN` elements were written by `try_new`, and live as long as the piece, which is borrowed.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr(), Self::LEN) }
    }

    #[inline(always)]
    fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `elements`, and the piece is borrowed by nobody else.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), Self::LEN) }
    }
}

impl<T> Drop for Piece<T> {
    fn drop(&mut self) {
        // SAFETY: nobody reaches the elements any more, which were written by `try_new`.
        unsafe { core::ptr::drop_in_place(self.elements_mut()) };
        source::give_back(self.0.cast());
    }
}

// SAFETY: a piece owns its elements, as a boxed slice does.
unsafe impl<T: Send> Send for Piece<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Piece<T> {}

/// An array of up to a number of elements, for indices that a guest chooses.
pub struct Pieces<T> {
    pieces: Vec<Piece<T>>,
    most: usize,
}

impl<T> Pieces<T> {
    /// Elements by which the array grows.
    pub const STEP: usize = Piece::<T>::LEN;

    /// The pages that so many elements take.
    pub const fn pages(elements: usize) -> u64 {
        elements.div_ceil(Self::STEP) as u64
    }

    /// Without elements; it can grow to `most` of them, rounded up to full pages. `None`: no memory for the list of pages.
    pub fn try_new(most: usize) -> Option<Self> {
        let most = most.div_ceil(Self::STEP);
        let mut pieces = Vec::new();
        pieces.try_reserve_exact(most).ok()?;
        Some(Pieces { pieces, most })
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.pieces.len().saturating_mul(Self::STEP)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds [`STEP`](Self::STEP) elements, each made of its index. After an error nothing has changed.
    pub fn grow(&mut self, mut make: impl FnMut(usize) -> T) -> Result<(), GrowError> {
        if self.pieces.len() >= self.most {
            return Err(GrowError::Full);
        }
        let first = self.len();
        let piece = Piece::try_new(|index| make(first.saturating_add(index))).ok_or(GrowError::Memory)?;
        // There is room: it was made with the array.
        self.pieces.push(piece);
        Ok(())
    }

    /// Ends the last [`STEP`](Self::STEP) elements, and gives their page back; the array grows no more. False when there is
    /// none left.
    pub fn shrink(&mut self) -> bool {
        self.most = 0;
        self.pieces.pop().is_some()
    }

    /// Ends all pages of elements but those that the first `elements` are in, and gives them back.
    pub fn truncate(&mut self, elements: usize) {
        self.pieces.truncate(elements.div_ceil(Self::STEP));
    }

    /// The pages that it has.
    pub fn held_pages(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// The first [`STEP`](Self::STEP) elements, if there is one.
    #[inline(always)]
    pub fn first_page(&self) -> &[T] {
        self.pieces.first().map_or(&[], Piece::elements)
    }

    /// The elements from `page * STEP` on, as many as are in a page: none where there is no page.
    pub fn page(&self, page: usize) -> &[T] {
        GuestIndex::from(page).of(&self.pieces).map_or(&[], Piece::elements)
    }

    /// As [`page`](Self::page), to change the elements.
    pub fn page_mut(&mut self, page: usize) -> &mut [T] {
        GuestIndex::from(page).of_mut(&mut self.pieces).map_or(&mut [], Piece::elements_mut)
    }

    /// The element with this index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (piece, within) = Self::split(index);
        // The lower part is bounded by its bits.
        piece.of(&self.pieces)?.elements().get(within)
    }

    /// As [`get`](Self::get), to change the element.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (piece, within) = Self::split(index);
        piece.of_mut(&mut self.pieces)?.elements_mut().get_mut(within)
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flat_map(Piece::elements)
    }

    #[inline(always)]
    fn split(index: u32) -> (GuestIndex, usize) {
        let index = index as usize;
        (GuestIndex::from(index / Self::STEP), index % Self::STEP)
    }
}

impl<T: Copy> Pieces<T> {
    /// Copies the elements of `from` to `to` and behind, as `slice::copy_within` does. What would come from or to where no
    /// elements are stays as it was.
    pub fn copy_within(&mut self, from: Range<usize>, to: usize) {
        let Range { mut start, mut end } = from;
        let first = start;
        // As many at once as are in one page, here and there; what is overwritten has been copied before.
        if to > first {
            let up = to.saturating_sub(first);
            while end > start {
                let target = end.saturating_add(up);
                let in_page = |end: usize| (end.saturating_sub(1) % Self::STEP).saturating_add(1);
                let count = end.saturating_sub(start).min(in_page(end)).min(in_page(target));
                end = end.saturating_sub(count);
                self.copy_few(end, target.saturating_sub(count), count);
            }
        } else if to < first {
            let down = first.saturating_sub(to);
            while end > start {
                let target = start.saturating_sub(down);
                let in_page = |start: usize| Self::STEP.saturating_sub(start % Self::STEP);
                let count = end.saturating_sub(start).min(in_page(start)).min(in_page(target));
                self.copy_few(start, target, count);
                start = start.saturating_add(count);
            }
        }
    }

    /// Copies elements that are in one page to where they are in one page.
    fn copy_few(&mut self, from: usize, to: usize, count: usize) {
        xenolith_hw::steps::count_bytes((count as u64).saturating_mul(size_of::<T>() as u64));
        let (source, target) = (from / Self::STEP, to / Self::STEP);
        let part = |start: usize| start % Self::STEP..(start % Self::STEP).saturating_add(count);
        if source == target {
            if self.page(source).get(part(from)).is_some() && self.page(source).get(part(to)).is_some() {
                self.page_mut(source).copy_within(part(from), to % Self::STEP);
            }
        } else if let Ok([source, target]) = self.pieces.get_disjoint_mut([source, target])
            && let Some(source) = source.elements().get(part(from))
            && let Some(target) = target.elements_mut().get_mut(part(to))
        {
            target.copy_from_slice(source);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Pieces<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Counts those that live.
    #[repr(align(16))]
    struct Counted<'a> {
        living: &'a AtomicU32,
        mark: u32,
        _size: [u64; 20],
    }

    impl<'a> Counted<'a> {
        fn new(living: &'a AtomicU32, mark: u32) -> Self {
            living.fetch_add(1, Ordering::Relaxed);
            Counted { living, mark, _size: [0; 20] }
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.living.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn elements_are_where_their_index_says_and_end_with_the_array() {
        let living = AtomicU32::new(0);
        // 176 bytes each: 23 would fit, and 16 are kept.
        let mut array = Pieces::try_new(40).unwrap();
        assert_eq!((Pieces::<Counted<'_>>::STEP, Pieces::<Counted<'_>>::pages(40)), (16, 3));
        assert!(array.is_empty() && array.get(0).is_none());
        for pieces in 1..=3 {
            array.grow(|index| Counted::new(&living, index as u32)).unwrap();
            assert_eq!((array.len(), living.load(Ordering::Relaxed)), (16 * pieces, 16 * pieces as u32));
        }
        assert_eq!(array.grow(|_| unreachable!()), Err(GrowError::Full));
        assert!((0..48).all(|index| array.get(index).is_some_and(|element| element.mark == index)));
        assert!([48, 49, u32::MAX].iter().all(|&index| array.get_mut(index).is_none()));
        array.get_mut(17).unwrap().mark = 99;
        assert!(array.iter().map(|element| element.mark).eq((0..17).chain([99]).chain(18..48)));
        assert!(array.shrink() && array.get(32).is_none() && array.get(31).is_some());
        assert_eq!(
            (living.load(Ordering::Relaxed), array.grow(|_| unreachable!())),
            (32, Err(GrowError::Full))
        );
        drop(array);
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn elements_are_copied_as_in_a_slice(from in 0_usize..1500, count in 0_usize..1500, to in 0_usize..1500) {
            let mut array = Pieces::try_new(3 * Pieces::<u64>::STEP).unwrap();
            (0..3).for_each(|_| array.grow(|index| index as u64).unwrap());
            let mut model: Vec<u64> = (0..array.len() as u64).collect();
            let count = count.min(model.len() - from.max(to));
            model.copy_within(from..from + count, to);
            array.copy_within(from..from + count, to);
            prop_assert!(array.iter().eq(&model));
        }
    }

    #[test]
    fn what_is_not_there_is_not_copied_and_pages_go_back() {
        let mut array = Pieces::try_new(3 * Pieces::<u64>::STEP).unwrap();
        (0..2).for_each(|_| array.grow(|index| index as u64).unwrap());
        array.copy_within(900..1100, 0);
        array.copy_within(0..600, 1000);
        assert!(array.get(0) == Some(&900) && array.get(1023) == Some(&923));
        array.truncate(513);
        assert_eq!((array.held_pages(), array.page(1).len(), array.page(2).len()), (2, 512, 0));
        array.truncate(512);
        assert_eq!((array.held_pages(), array.len()), (1, 512));
        array.truncate(0);
        assert!(array.is_empty() && array.grow(|index| index as u64).is_ok(), "it can grow again");
    }

    #[test]
    fn an_array_of_none_never_grows() {
        let mut array = Pieces::<u64>::try_new(0).unwrap();
        assert_eq!((array.grow(|_| 0), Pieces::<u64>::pages(0)), (Err(GrowError::Full), 0));
        assert!(Pieces::<u64>::try_new(usize::MAX).is_none(), "no list is so long");
    }
}
