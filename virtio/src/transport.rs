//! How a driver reaches a device: registers in front of a [`Control`](crate::core::control::Control).
//!
//! A transport translates: its registers to what the core has for every transport, and the core's interrupts to what its
//! guest has. virtio-pci has its place here, as `pci.rs` beside `mmio.rs`.

pub mod mmio;
