//! What every device and every transport shares: features, status, queues, and the three traits by which a carrier
//! (Xen's ioreq server, a vhost-user front-end, a test) reaches its guest.
//!
//! - [`memory::GuestMemory`]: the guest's RAM, as it is mapped now.
//! - [`interrupt::Interrupt`]: one thing to tell the driver; each queue has one, and the configuration has one.
//! - [`doorbell::Doorbell`]: notifications of the driver that are no access to a register.
//!
//! Principle: nothing here knows a transport, a kind of device, or a carrier.

pub mod control;
pub mod device;
pub mod doorbell;
pub mod features;
pub mod interrupt;
pub mod memory;
pub mod queue;
pub mod queues;
pub mod ram;
pub mod running;
pub mod state;
pub mod status;
