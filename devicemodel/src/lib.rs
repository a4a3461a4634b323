//! What a backend needs on Linux to serve devices of another domain's guest: forwarded accesses, the guest's memory,
//! events and interrupts; and what a toolstack needs to make calls.
//!
//! Device code is written against two traits only: [`Guest`], what the device sees of its guest, and [`Mmio`], what
//! the guest sees of the device. [`Domain`] and [`Server`] are the guest through Xen's Linux device files
//! (privcmd, evtchn, gntdev); [`mock`] has it in plain memory, so that the same device runs in a test with neither
//! Xen nor Linux devices.
//!
//! What another domain can write is only ever reached by copying in and out: no reference into such memory exists.
//! Unsafe code is in the files under `xen/` that make system calls, and nowhere else.
#![deny(unsafe_code)]

pub mod dm;
mod domain;
mod error;
mod guest;
mod memory;
pub mod mock;
mod ram;
pub mod server;
pub mod slots;
pub mod xen;

pub use domain::Domain;
pub use error::Error;
pub use guest::{Guest, Mmio};
pub use memory::{Bank, Memory, Region, zeroed};
pub use ram::{Foreign, GuestRam};
pub use server::Server;

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon moves these to its threads.
    #[test]
    fn values_go_to_other_threads() {
        fn moves<T: Send>() {}
        fn serves_all<T: Send + Sync>() {}
        moves::<Server>();
        moves::<slots::Watch>();
        moves::<xen::Buffer>();
        serves_all::<Domain>();
        serves_all::<Memory>();
        serves_all::<dm::DeviceModel>();
        serves_all::<slots::Slots>();
        serves_all::<mock::Guest>();
    }
}
