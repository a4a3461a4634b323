//! Who carries devices to a guest, a module for each way: what brings the guest's accesses, its memory, and interrupts
//! back.
//!
//! - [`xen`]: an ioreq server under Xen or Xenolith, with foreign mappings and event channels, through Linux's device files;
//!   and what a toolstack needs to make calls.
//! - [`mock`]: the hypervisor's side of the same in plain memory, for tests with neither Xen nor Linux devices.
//!
//! A vhost-user front-end and back-end belong here as well, as `vhost_user.rs`.
//!
//! A carrier implements `virtio`'s traits ([`GuestMemory`], [`Interrupt`]) and hands accesses to an [`Mmio`]: a virtio
//! device by [`VirtioMmio`], or any other. So device code knows no carrier.
//!
//! What another domain can write is only ever reached by copying in and out: no reference into such memory exists.
//! Unsafe code is in the files under `xen/` that make system calls, and nowhere else.
//!
//! ```no_run
//! use std::sync::Arc;
//! use backend::xen::slots::{Interrupt as SlotInterrupt, Slots};
//! use backend::xen::{DeviceModel, Line, Privcmd, Server};
//! use backend::{Interrupt, Mmio, StalePages};
//!
//! /// One register, in which every write is an interrupt.
//! struct Echo {
//!     line: Line,
//!     last: u64,
//! }
//!
//! impl Mmio for Echo {
//!     fn read(&mut self, _address: u64, _size: u8) -> u64 {
//!         self.last
//!     }
//!     fn write(&mut self, _address: u64, _size: u8, value: u64) {
//!         self.last = value;
//!         self.line.trigger();
//!     }
//!     // It holds nothing of the guest's memory.
//!     fn invalidate(&mut self, _stale: &StalePages) {}
//! }
//!
//! # fn main() -> Result<(), backend::Error> {
//! let privcmd = Arc::new(Privcmd::open()?);
//! for slot in Slots::new(Arc::clone(&privcmd)).list()? {
//!     let Some(SlotInterrupt::Line { intid }) = slot.device.interrupt.get() else { continue };
//!     let model = DeviceModel::new(Arc::clone(&privcmd), slot.device.guest);
//!     let mut echo = Echo { line: Line::new(model.clone(), intid), last: 0 };
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
mod mmio;
pub mod mock;
pub mod xen;

pub use error::Error;
pub use mmio::{Mmio, VirtioMmio};
pub use virtio::core::interrupt::Interrupt;
pub use virtio::core::memory::GuestMemory;
pub use virtio::core::ram::{Bank, Ram, StalePages};
pub use xenolith_abi::{DomId, Gfn, Intid, Port};

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
        serves_all::<Ram>();
        serves_all::<xen::DeviceModel>();
        serves_all::<xen::slots::Slots>();
        serves_all::<virtio::mock::Guest>();
    }
}
