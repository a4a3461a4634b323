//! What a guest finds when it starts: its memory map, its interrupts, its device tree, and its kernel's place.
//!
//! The hypervisor builds domains at boot, and the command line builds them at run time; both use this crate, so that a
//! guest finds the same machine either way, the one that Xen's tools make. Nothing here touches a domain: the functions
//! compute numbers and bytes.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod compression;
pub mod gic;
pub mod image;
pub mod layout;
pub mod placement;
mod region;
mod regions;
pub mod tree;
pub mod zboot;

pub use region::Region;
pub use regions::extended_regions;
