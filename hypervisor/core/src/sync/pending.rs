//! Marks that many leave, and that one takes all at once.

use xenolith_hw::atomic::{AtomicU8, Ordering};

/// Up to eight marks.
#[derive(Debug, Default)]
pub struct Pending(AtomicU8);

impl Pending {
    /// These marks and no other.
    pub const fn new(marks: u8) -> Self {
        Pending(AtomicU8::new(marks))
    }

    /// Leaves marks. Who takes them sees what the caller did before.
    #[inline]
    pub fn mark(&self, marks: u8) {
        self.0.fetch_or(marks, Ordering::Release);
    }

    /// Takes the marks that are there.
    #[inline]
    pub fn take(&self) -> u8 {
        // A plain load keeps the common way free of atomic writes. A mark that it misses was left by somebody who has yet to
        // tell the taker, by a kick or under a lock that the taker has still to pass.
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.0.swap(0, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenolith_hw::atomic::AtomicU32;
    use xenolith_hw::model::{cell::UnsafeCell, explore, thread};

    use super::*;

    #[test]
    fn marks_are_taken_once() {
        let pending = Pending::new(1);
        pending.mark(4);
        assert_eq!((pending.take(), pending.take()), (5, 0));
    }

    /// In a model: who takes a mark sees what was done before it was left, and none is lost or taken twice.
    #[test]
    fn a_mark_brings_what_it_is_about() {
        explore(Some(2), || {
            let shared = Arc::new((Pending::new(0), [AtomicU32::new(0), AtomicU32::new(0)]));
            shared.1.iter().for_each(|done| done.store(0, Ordering::Relaxed));
            assert_eq!(shared.0.take(), 0);
            let mark = |bit: usize| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1[bit].store(7, Ordering::Relaxed);
                    shared.0.mark(1 << bit);
                })
            };
            let markers = [mark(0), mark(1)];
            let look = |taken: u8| {
                for (bit, done) in shared.1.iter().enumerate() {
                    assert!(taken & 1 << bit == 0 || done.load(Ordering::Relaxed) == 7);
                }
                taken
            };
            let first = look(shared.0.take());
            let second = look(shared.0.take());
            markers.into_iter().for_each(|marker| marker.join().unwrap());
            let third = look(shared.0.take());
            assert_eq!((first | second | third, first & second, (first | second) & third), (3, 0, 0));
        });
    }

    /// The locks of the models themselves: what the lock is for is not reached by two at once.
    #[test]
    fn a_lock_has_one_holder_in_a_model_too() {
        use crate::sync::Mutex;
        explore(None, || {
            let shared = Arc::new((Mutex::new(()), UnsafeCell::new(0)));
            let add = |shared: &(Mutex<()>, UnsafeCell<u32>), tries: bool| {
                let guard = if tries { shared.0.try_lock() } else { Some(shared.0.lock()) };
                // A data race would end the test.
                guard.map(|_guard| shared.1.get_mut().with(|number| number as usize)).is_some()
            };
            let other = shared.clone();
            let thread = thread::spawn(move || add(&other, false));
            add(&shared, true);
            assert!(thread.join().unwrap());
        });
    }
}
