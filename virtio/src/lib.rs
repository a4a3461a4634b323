//! Virtio devices and their transports, from the device's side.
//!
//! Principle: everything that a driver writes is an allegation. Registers, queues and requests are copied once and
//! checked, then used; what does not hold costs the guest this device and nobody anything else. The code needs
//! neither Xen nor special devices: guest memory, the interrupt and the disk's image come in through small traits.

#![deny(unsafe_code)]

pub mod config;
