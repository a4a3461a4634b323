//! The hypervisor as a whole.

mod boot;
mod boot_domains;
mod console;
mod events;
mod first;
mod grants;
mod hostile;
mod memory;
mod multicall;
mod power;
mod scheduling;
mod support;
