//! A lock with one holder.

use core::ops::{Deref, DerefMut};

use spin::mutex::{FairMutex, FairMutexGuard};
use xenolith_hw::model::Turn;

use super::Yield;
use super::lockdep::Held;

/// A lock that goes to whoever is there when it is free, unless another CPU has waited for long. Strict order of arrival
/// costs too much where CPUs are emulated: the lock would be handed to one that the host is not running.
#[derive(Debug, Default)]
pub struct Mutex<T>(FairMutex<T, Yield>);

impl<T> Mutex<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        Mutex(FairMutex::new(value))
    }

    /// Waits until the lock is free, and takes it. Only the taking of a free lock becomes part of the caller.
    #[inline(always)]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::wait_for(self);
        let turn = Turn::wait_for(self);
        let guard = match self.0.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        };
        MutexGuard { guard, _turn: turn, _held: held }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) -> FairMutexGuard<'_, T, Yield> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    #[inline]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let turn = Turn::try_take(self)?;
        let guard = self.0.try_lock()?;
        Some(MutexGuard { guard, _turn: turn, _held: Held::found_free(self) })
    }

    /// Where the value is, for who must go on even if the holder of the lock never will.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.0.as_mut_ptr()
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// What the holder of a [`Mutex`] has.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    guard: FairMutexGuard<'a, T, Yield>,
    _turn: Turn,
    _held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
