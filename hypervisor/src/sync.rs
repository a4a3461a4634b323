//! Locks. Interrupts stay masked at EL2, so a lock needs no interrupt handling; a waiter tells the machine that it
//! waits (`yield`), which keeps emulated runs repeatable and helps the sibling thread on real cores.
//!
//! Order, outermost first: a domain's destruction (never waited for), the making of domains, p2m, grant table, emulated
//! UART, ioreq servers, event channels (two domains: lower number first), vGIC, a domain's pauses, a vCPU's power state,
//! its saved registers, run queue, frame allocator, console. A lock is taken only while holding those before it. Under all
//! others (a domain's handle, parameters, maptrack, watchdogs, listener, permits and ending; device slots; a vCPU's access
//! that waits; a vCPU's timer; the lists of units and of interrupt routes; the VMIDs) no lock is taken but the console's.
//!
//! The list of domains may be taken under any of them, because under it only the wall clock, the list of ended domains
//! and the list of units are.

/// Tells the CPU that the surrounding loop waits for another CPU.
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    fn relax() {
        crate::arch::relax();
    }
}

/// A lock that goes to whoever is there when it is free, unless another CPU has waited for long. Strict order of arrival
/// costs too much where CPUs are emulated: the lock would be handed to one that the host is not running.
pub type Mutex<T> = spin::mutex::FairMutex<T, Yield>;
/// A lock with many readers or one writer.
pub type RwLock<T> = spin::rwlock::RwLock<T, Yield>;
/// A value that is set once, at boot.
pub type Once<T> = spin::once::Once<T, Yield>;
