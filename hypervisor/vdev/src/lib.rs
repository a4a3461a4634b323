//! Devices that the hypervisor emulates, and who answers at which address.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address_table;
pub mod vuart;
