//! Virtio devices and their transports, from the device's side.
//!
//! Layers, of which each uses those before it and none after it:
//! - [`core`]: features, status, queues, state, and the traits by which a carrier reaches its guest;
//! - [`transport`]: registers in front of a device;
//! - [`storage`]: images and the engines that do their operations;
//! - [`devices`]: kinds of devices, and [`config`], what is said of them before there is one.
//!
//! Principle: everything that a driver writes is an allegation. Registers, queues and requests are copied once and
//! checked, then used; what does not hold costs the guest this device and nobody anything else. Nothing here knows a
//! hypervisor: guest memory, interrupts and doorbells come in through small traits, which the carriers implement
//! (`backend`), or [`mock`] for tests.
//!
//! Section numbers are those of the virtio specification 1.2.

#![deny(unsafe_code)]

pub mod config;
pub mod core;
#[cfg(feature = "device")]
pub mod devices;
#[cfg(any(test, feature = "driver"))]
pub mod driver;
pub mod mock;
pub mod signature;
#[cfg(feature = "device")]
pub mod storage;
pub mod transport;
