//! A reference-counted value whose creation can fail, at a moment of its maker's choice: the memory is allocated first, and
//! filled later without a way to fail. The standard library's `Arc` aborts where the heap is full.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use xenolith_hw::atomic::{AtomicUsize, Ordering, fence};

struct Inner<T> {
    references: AtomicUsize,
    value: T,
}

/// Memory for a value that is to be shared.
pub struct Room<T>(NonNull<Inner<T>>);

impl<T> Room<T> {
    const LAYOUT: Layout = Layout::new::<Inner<T>>();

    /// Takes the memory from the heap, if it has so much.
    pub fn try_new() -> Option<Self> {
        // SAFETY: the layout has a size, as the counter has one.
        let memory = unsafe { alloc(Self::LAYOUT) };
        NonNull::new(memory.cast()).map(Self)
    }

    /// Puts the value there, with the first reference to it.
    pub fn fill(self, value: T) -> Arc<T> {
        let inner = ManuallyDrop::new(self).0;
        // SAFETY: the memory is this room's own, with the layout of what is written; nothing is there yet.
        unsafe { inner.write(Inner { references: AtomicUsize::new(1), value }) };
        Arc(inner, PhantomData)
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nobody else has it: `fill` does not come here.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) };
    }
}

/// One of the references to a value, which ends with the last. There are no weak ones.
pub struct Arc<T>(NonNull<Inner<T>>, PhantomData<Inner<T>>);

// SAFETY: as for the standard library's `Arc`: a reference gives `&T` to any thread that has it, and the last one moves the
// value to the thread that drops it.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    /// The value, for whom its only reference belongs to.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        // Acquire: what others did by references that they have dropped comes before what the caller does.
        if this.inner().references.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: there is no other reference, and none can be made while this one is borrowed.
        Some(unsafe { &mut this.0.as_mut().value })
    }

    /// Where the value is.
    pub fn as_ptr(this: &Self) -> *const T {
        &raw const this.inner().value
    }

    /// Whether two references are to one value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.0 == other.0
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: the value lives as long as there is a reference.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        // Relaxed: whoever has a reference sees the value already. The counter cannot wrap: each reference takes 8 bytes of
        // memory, and none is forgotten.
        self.inner().references.fetch_add(1, Ordering::Relaxed);
        Self(self.0, PhantomData)
    }
}

impl<T> Drop for Arc<T> {
    #[inline]
    fn drop(&mut self) {
        if self.inner().references.fetch_sub(1, Ordering::Release) == 1 {
            // What others did by their references comes before the end of the value.
            fence(Ordering::Acquire);
            // SAFETY: this was the last reference.
            unsafe { end(self.0) };
        }
    }
}

/// Ends a value and gives its memory back. Out of line, as most references are not the last.
///
/// # Safety
/// Nobody refers to the value any more.
#[cold]
#[inline(never)]
unsafe fn end<T>(inner: NonNull<Inner<T>>) {
    let room = Room(inner);
    // SAFETY: by the caller's claim nobody else reaches the value; the memory goes back after it, with `room`.
    unsafe { core::ptr::drop_in_place(&raw mut (*room.0.as_ptr()).value) };
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod interleavings;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    static ENDED: AtomicU32 = AtomicU32::new(0);

    struct Ends {
        mark: u64,
    }

    impl Drop for Ends {
        fn drop(&mut self) {
            assert_eq!(self.mark, 0x5a5a);
            ENDED.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_value_ends_once_with_its_last_reference() {
        let mut first = Room::try_new().unwrap().fill(Ends { mark: 1 });
        Arc::get_mut(&mut first).unwrap().mark = 0x5a5a;
        let second = first.clone();
        assert!(Arc::ptr_eq(&first, &second) && Arc::get_mut(&mut first).is_none());
        assert_eq!(Arc::as_ptr(&second), &raw const *first);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert_eq!(first.clone().mark, 0x5a5a);
                    }
                });
            }
        });
        drop(first);
        assert_eq!(ENDED.load(Ordering::Relaxed), 0);
        let other = thread::spawn(move || second.mark).join().unwrap();
        assert_eq!((other, ENDED.load(Ordering::Relaxed)), (0x5a5a, 1));
    }

    #[test]
    fn room_that_is_not_filled_is_given_back_without_a_value() {
        drop(Room::<Ends>::try_new().unwrap());
    }
}
