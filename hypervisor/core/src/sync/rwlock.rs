//! A lock with many readers or one writer.

use core::ops::{Deref, DerefMut};

use xenolith_hw::PhaseFair;

use super::lockdep::Held;

/// A lock with many readers or one writer, for which neither waits without end ([`PhaseFair`]). Who has it must not take it again,
/// not even to read.
#[derive(Debug, Default)]
pub struct RwLock<T>(lock_api::RwLock<PhaseFair, T>);

impl<T> RwLock<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        RwLock(lock_api::RwLock::new(value))
    }

    /// Waits for one writer at most, and enters.
    #[inline(always)]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = Held::wait_for(self);
        RwLockReadGuard { guard: self.0.read(), _held: held }
    }

    /// Waits for those that came before, and enters alone.
    #[inline]
    #[cfg_attr(feature = "lockdep", track_caller)]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = Held::wait_for(self);
        RwLockWriteGuard { guard: self.0.write(), _held: held }
    }
}

/// What a reader of a [`RwLock`] has.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T> {
    guard: lock_api::RwLockReadGuard<'a, PhaseFair, T>,
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
    guard: lock_api::RwLockWriteGuard<'a, PhaseFair, T>,
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
