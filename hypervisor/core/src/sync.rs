//! Locks. Interrupts stay masked at EL2, so a lock needs no interrupt handling; a waiter tells the machine that it
//! waits (`yield`), which keeps emulated runs repeatable and helps the sibling thread on real cores.
//!
//! All locks have an order, [`order::ORDER`]: one is waited for only while those held stand before it. Tests of the whole
//! hypervisor build with the feature `lockdep`, which ends a test at the first lock that is waited for out of order.

mod lockdep;
mod mutex;
pub mod order;
pub mod pending;
mod rwlock;

#[cfg(feature = "lockdep")]
pub use lockdep::held_locks;
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tells the CPU that the surrounding loop waits for another CPU.
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    fn relax() {
        xenolith_hw::relax();
    }
}

/// A value that is set once.
pub type Once<T> = spin::once::Once<T, Yield>;
