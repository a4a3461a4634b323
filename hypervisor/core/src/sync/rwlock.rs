//! A lock with many readers or one writer, in which readers cannot keep a writer waiting for ever.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use spin::RelaxStrategy;
use spin::rwlock;

use super::Yield;
use super::lockdep::Held;

/// A lock with many readers or one writer.
///
/// A writer keeps out the readers that come after it: each comes to the lock once, and then waits apart until no writer is
/// left. So a writer waits for the readers that are inside and no longer, however many CPUs read in a loop. For the same
/// reason a CPU that reads must not read again before it has ended: between the two a writer may have come.
#[derive(Debug, Default)]
pub struct RwLock<T> {
    lock: rwlock::RwLock<T, Yield>,
    /// Writers that wait or are inside.
    writers: AtomicU32,
}

impl<T> RwLock<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        RwLock { lock: rwlock::RwLock::new(value), writers: AtomicU32::new(0) }
    }

    /// Waits until no writer is inside or waits, and enters.
    #[inline(always)]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = Held::wait_for(self);
        let guard = match self.lock.try_read() {
            Some(guard) => guard,
            None => self.wait_for_writers(),
        };
        RwLockReadGuard { guard, _held: held }
    }

    /// A look at `lock` counts as a reader for a moment, so who waits does not look while a writer is there.
    #[cold]
    #[inline(never)]
    fn wait_for_writers(&self) -> rwlock::RwLockReadGuard<'_, T, Yield> {
        loop {
            while self.writers.load(Ordering::Relaxed) > 0 {
                Yield::relax();
            }
            if let Some(guard) = self.lock.try_read() {
                return guard;
            }
        }
    }

    /// Waits until those inside have left, and enters alone.
    #[inline(never)]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = Held::wait_for(self);
        self.writers.fetch_add(1, Ordering::Relaxed);
        let waits = Writer(&self.writers);
        let guard = self.lock.upgradeable_read().upgrade();
        RwLockWriteGuard { guard, _waits: waits, _held: held }
    }
}

/// A writer, as long as it waits or is inside.
#[derive(Debug)]
struct Writer<'a>(&'a AtomicU32);

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a reader of a [`RwLock`] has.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T> {
    guard: rwlock::RwLockReadGuard<'a, T, Yield>,
    _held: Held,
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.guard
    }
}

/// What the writer of a [`RwLock`] has.
#[derive(Debug)]
pub struct RwLockWriteGuard<'a, T> {
    // In this order: who is let in by the count finds the lock free.
    guard: rwlock::RwLockWriteGuard<'a, T, Yield>,
    _waits: Writer<'a>,
    _held: Held,
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let lock = RwLock::new(1);
        {
            let inside = lock.read();
            thread::scope(|scope| scope.spawn(|| assert_eq!(*lock.read(), 1)).join()).unwrap();
            assert!(lock.lock.try_write().is_none());
            drop(inside);
        }
        *lock.write() += 1;
        assert_eq!(*lock.read(), 2);
    }

    #[test]
    fn readers_in_a_loop_do_not_keep_a_writer_out() {
        const READERS: usize = 8;
        const WRITES: u32 = 2_000;
        let (lock, over) = (RwLock::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    let mut last = 0;
                    while !over.load(Ordering::Relaxed) {
                        let now = *lock.read();
                        assert!(now >= last);
                        last = now;
                    }
                });
            }
            for _ in 0..WRITES {
                *lock.write() += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!((*lock.read(), lock.writers.load(Ordering::Relaxed)), (WRITES, 0));
    }
}
