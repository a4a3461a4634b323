//! The hypervisor as a whole.

mod boot;
mod boot_domains;
mod console;
mod control;
mod create;
mod destroy;
mod events;
mod first;
mod foreign;
#[cfg(feature = "ioreq")]
mod forward;
mod frame_grants;
mod grants;
mod hostile;
mod lifecycle;
mod memory;
mod multicall;
#[cfg(not(feature = "ioreq"))]
mod no_forward;
mod permission;
mod power;
mod scheduling;
mod support;
