//! Locks. Interrupts stay masked at EL2, so a lock needs no interrupt handling; a waiter tells the machine that it
//! waits (`yield`), which keeps emulated runs repeatable and helps the sibling thread on real cores.
//!
//! Order, outermost first: a domain's destruction (never waited for), the making of domains, a domain's addresses, p2m,
//! grant table, emulated UART, ioreq servers, event channels (two domains: lower number first), vGIC, a domain's pauses, a
//! vCPU's power state, its saved registers, its run state area, run queue, frame allocator, console. A lock is taken only
//! while holding those before it. Under all others (a domain's handle, parameters, maptrack, watchdogs, panic_detector,
//! permits, device models and ending; device slots; the wall clock; a vCPU's access that waits; a vCPU's timer; a CPU's alarms; the lists
//! of units and of interrupt routes; the VMIDs) no lock is taken but the console's, and under that of device slots a
//! domain's device models.
//!
//! The list of domains may be taken under any of them but a run queue's: under it only the wall clock, the list of units
//! and the list of ended domains are taken, and under that one run queues.

use spin::mutex::{FairMutex, FairMutexGuard};
use xenolith_hw::PhaseFair;

/// Tells the CPU that the surrounding loop waits for another CPU.
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    fn relax() {
        xenolith_hw::relax();
    }
}

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
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
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
pub type MutexGuard<'a, T> = FairMutexGuard<'a, T, Yield>;
/// A lock with many readers or one writer, for which neither waits without end ([`PhaseFair`]). Who has it must not take it again,
/// not even to read.
pub type RwLock<T> = lock_api::RwLock<PhaseFair, T>;
/// What a reader of a [`RwLock`] has.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, PhaseFair, T>;
/// What the writer of a [`RwLock`] has.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, PhaseFair, T>;
/// A value that is set once.
pub type Once<T> = spin::once::Once<T, Yield>;
