//! Access to one machine frame that a domain may read and write at the same time.
//!
//! The content is never borrowed: bytes are copied in once and out once, and words that both sides update are reached
//! by atomic operations with a bounded number of attempts, because a guest that writes the word in a tight loop must
//! not keep EL2 waiting (Xen's advisory 295).

use xenolith_core::types::{Mfn, PAGE_SIZE};
use xenolith_hw::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use xenolith_hw::steps;

/// How often a read-modify-write is tried before the writer on the other side is taken for hostile.
pub const ATTEMPTS: u32 = 64;

/// Another party kept changing a shared word for [`ATTEMPTS`] attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// One frame of RAM, reachable at EL2. Holding a `Page` does not keep the frame allocated: a `FrameRef`
/// or the owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page(Mfn);

impl Page {
    /// Wraps a frame.
    ///
    /// # Safety
    /// `mfn` is RAM that is mapped at EL2 at its own address, and stays allocated for as long as the value or a word
    /// made from it is used. Nothing else in the hypervisor holds a reference into it.
    pub unsafe fn new(mfn: Mfn) -> Self {
        Page(mfn)
    }

    /// The frame's number.
    pub fn mfn(self) -> Mfn {
        self.0
    }

    fn pointer(self, offset: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut::<u8>(self.0.base().0 as usize).wrapping_add(offset)
    }

    /// Copies bytes out of the frame; false, and nothing copied, when the range leaves the frame.
    #[must_use]
    pub fn read(self, offset: usize, into: &mut [u8]) -> bool {
        if !fits(offset, into.len()) {
            return false;
        }
        steps::count_bytes(into.len() as u64);
        // SAFETY: the source range lies in the frame, which `new`'s caller keeps mapped; `into` is ours alone, so
        // the two cannot overlap. A concurrent guest write can only make the copied bytes a mixture.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer(offset), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Copies bytes into the frame; false, and nothing copied, when the range leaves the frame.
    #[must_use]
    pub fn write(self, offset: usize, from: &[u8]) -> bool {
        if !fits(offset, from.len()) {
            return false;
        }
        steps::count_bytes(from.len() as u64);
        // SAFETY: as in `read`, with source and destination exchanged.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.pointer(offset), from.len()) };
        xenolith_hw::model::note_copied(self.pointer(offset), from.len());
        true
    }

    /// Fills the frame with zeroes.
    pub fn zero(self) {
        // SAFETY: the whole frame is RAM and mapped, and nobody holds a reference into it, by `new`'s contract.
        unsafe { xenolith_hw::zero_page(self.0.base().0) };
    }

    /// The byte at `offset`, if it lies in the frame.
    pub fn byte(self, offset: usize) -> Option<Word<AtomicU8>> {
        fits(offset, 1).then(|| Word(self.pointer(offset).cast()))
    }

    /// The 32-bit word at `offset`, if it is aligned and lies in the frame.
    pub fn word32(self, offset: usize) -> Option<Word<AtomicU32>> {
        (fits(offset, 4) && offset.is_multiple_of(4)).then(|| Word(self.pointer(offset).cast()))
    }

    /// The 64-bit word at `offset`, if it is aligned and lies in the frame.
    pub fn word64(self, offset: usize) -> Option<Word<AtomicU64>> {
        (fits(offset, 8) && offset.is_multiple_of(8)).then(|| Word(self.pointer(offset).cast()))
    }
}

/// Something that keeps a guest's frame allocated for as long as it exists.
pub trait SharedFrame {
    /// The frame.
    fn page(&self) -> Page;
}

fn fits(offset: usize, length: usize) -> bool {
    offset.checked_add(length).is_some_and(|end| end <= PAGE_SIZE as usize)
}

/// One word of a shared frame. Its address was validated when it was made, so that no access can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<A>(*const A);

// SAFETY: a word is an address; every access through it is a single atomic operation.
unsafe impl<A> Send for Word<A> {}
// SAFETY: as for `Send`.
unsafe impl<A> Sync for Word<A> {}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word<$atomic> {
            fn atomic(&self) -> &$atomic {
                steps::count(1);
                // SAFETY: `Page::new`'s contract keeps the frame mapped, the constructor checked range and
                // alignment, and all of the hypervisor reaches this memory by atomics or by copies only.
                unsafe { &*self.0 }
            }

            /// Reads the word; what the other side wrote before it released this value is visible afterwards.
            pub fn load(&self) -> $value {
                self.atomic().load(Ordering::Acquire)
            }

            /// Writes the word, after everything written before it.
            pub fn store(&self, value: $value) {
                self.atomic().store(value, Ordering::Release);
            }

            /// Replaces the word by what `change` makes of it, or leaves it when `change` says `None`.
            /// Returns the value found, whether or not it was replaced.
            ///
            /// A word that is left is not written, so that nothing is released by it: who needs an order then has to
            /// put a barrier before.
            pub fn update(
                &self,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, Contended> {
                let mut found = self.load();
                for _ in 0..ATTEMPTS {
                    let Some(next) = change(found) else { return Ok(found) };
                    match self.atomic().compare_exchange_weak(
                        found,
                        next,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => return Ok(found),
                        Err(other) => found = other,
                    }
                }
                Err(Contended)
            }

            /// Sets bits; returns the value before.
            pub fn set(&self, bits: $value) -> Result<$value, Contended> {
                self.update(|value| (value & bits != bits).then_some(value | bits))
            }

            /// Clears bits; returns the value before.
            pub fn clear(&self, bits: $value) -> Result<$value, Contended> {
                self.update(|value| (value & bits != 0).then_some(value & !bits))
            }
        }
    };
}

word!(AtomicU8, u8);
word!(AtomicU32, u32);
word!(AtomicU64, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_core::types::Pa;

    #[repr(C, align(4096))]
    struct Frame([u8; 4096]);

    /// A zeroed frame of its own, never freed.
    fn page() -> Page {
        let frame = Box::leak(Box::new(Frame([0; 4096])));
        let address = Pa((frame as *mut Frame).expose_provenance() as u64);
        // SAFETY: a leaked, page-aligned allocation that nobody else refers to.
        unsafe { Page::new(address.frame()) }
    }

    #[test]
    fn copies_stay_inside_the_frame() {
        let page = page();
        assert!(page.write(4090, &[1, 2, 3, 4, 5, 6]));
        assert!(!page.write(4091, &[9; 6]));
        assert!(!page.read(usize::MAX, &mut [0; 2]));
        let mut bytes = [0; 6];
        assert!(page.read(4090, &mut bytes));
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn words_are_aligned_and_inside() {
        let page = page();
        for offset in 0..5000 {
            assert_eq!(page.word64(offset).is_some(), offset % 8 == 0 && offset <= 4088);
            assert_eq!(page.word32(offset).is_some(), offset % 4 == 0 && offset <= 4092);
        }
    }

    #[test]
    fn set_and_clear_return_the_value_before() {
        let word = page().word32(8).unwrap();
        assert_eq!(word.set(0b101), Ok(0));
        assert_eq!(word.set(0b001), Ok(0b101));
        assert_eq!(word.clear(0b100), Ok(0b101));
        assert_eq!(word.load(), 0b001);
    }

    #[test]
    fn a_hostile_writer_is_given_up_on() {
        let word = page().word64(0).unwrap();
        let result = word.update(|value| {
            word.store(value + 1);
            Some(0)
        });
        assert_eq!(result, Err(Contended));
    }
}
