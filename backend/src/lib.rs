//! What a backend needs on Linux to serve devices of another domain's guest: forwarded accesses, the guest's memory,
//! events and interrupts; and what a toolstack needs to make calls.
//!
//! Device code is written against two traits only: [`Guest`], what the device sees of its guest, and [`Mmio`], what
//! the guest sees of the device. [`xen::Domain`] and [`xen::Server`] are the guest through Xen's Linux device files
//! (privcmd, evtchn); [`mock`] has it in plain memory, so that the same device runs in a test with neither
//! Xen nor Linux devices.
//!
//! What another domain can write is only ever reached by copying in and out: no reference into such memory exists.
//! Unsafe code is in the files under `xen/` that make system calls, and nowhere else.
//!
//! ```no_run
//! use std::sync::Arc;
//! use backend::xen::slots::{Interrupt, Slots};
//! use backend::xen::{DeviceModel, Domain, Privcmd, Server};
//! use backend::{Guest, Mmio};
//!
//! /// One register, in which every write is an interrupt.
//! struct Echo {
//!     guest: Arc<dyn Guest>,
//!     irq: u32,
//!     last: u64,
//! }
//!
//! impl Mmio for Echo {
//!     fn read(&mut self, _address: u64, _size: u8) -> u64 {
//!         self.last
//!     }
//!     fn write(&mut self, _address: u64, _size: u8, value: u64) {
//!         self.last = value;
//!         // Without its interrupt the device is of no use, and there is nobody to tell.
//!         let _ = self.guest.set_irq(self.irq, true);
//!     }
//!     fn invalidate(&mut self) {
//!         self.guest.refresh();
//!     }
//! }
//!
//! # fn main() -> Result<(), backend::Error> {
//! let privcmd = Arc::new(Privcmd::open()?);
//! for slot in Slots::new(Arc::clone(&privcmd)).list()? {
//!     let Some(Interrupt::Line { intid: irq }) = slot.device.interrupt.get() else { continue };
//!     let model = DeviceModel::new(Arc::clone(&privcmd), slot.device.guest);
//!     let guest = Arc::new(Domain::attach(model.clone(), &slot.device.ram)?);
//!     let mut echo = Echo { guest, irq, last: 0 };
//!     let mut server = Server::create(model)?;
//!     let registers = slot.device.registers;
//!     server.map_mmio(registers.base..=registers.base + registers.size - 1)?;
//!     // Whenever `server.fd()` is readable:
//!     server.serve_ready(&mut echo)?;
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod error;
mod guest;
mod memory;
pub mod mock;
pub mod xen;

pub use error::Error;
pub use guest::{Guest, Mmio};
pub use memory::{Bank, Memory, Region, zeroed};

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon moves these to its threads.
    #[test]
    fn values_go_to_other_threads() {
        fn moves<T: Send>() {}
        fn serves_all<T: Send + Sync>() {}
        moves::<xen::Server>();
        moves::<xen::slots::Watch>();
        moves::<xen::Buffer>();
        serves_all::<xen::Domain>();
        serves_all::<Memory>();
        serves_all::<xen::DeviceModel>();
        serves_all::<xen::slots::Slots>();
        serves_all::<mock::Guest>();
    }
}
