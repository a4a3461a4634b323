//! Virtio devices and their transports, from the device's side.
//!
//! Principle: everything that a driver writes is an allegation. Registers, queues and requests are copied once and
//! checked, then used; what does not hold costs the guest this device and nobody anything else. The code needs
//! neither Xen nor special devices: guest memory, the interrupt and the disk's image come in through small traits.
//!
//! Section numbers are those of the virtio specification 1.2.

#![deny(unsafe_code)]

pub mod config;
#[cfg(feature = "device")]
pub mod core;
#[cfg(feature = "device")]
pub mod devices;
#[cfg(any(test, feature = "driver"))]
pub mod driver;
#[cfg(feature = "device")]
pub mod storage;
#[cfg(feature = "device")]
pub mod transport;
