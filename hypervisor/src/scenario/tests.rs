//! The hypervisor as a whole.

mod boot;
mod console;
mod create;
mod events;
mod first;
#[cfg(feature = "ioreq")]
mod forward;
mod grants;
mod hostile;
mod memory;
mod multicall;
mod power;
mod scheduling;
mod support;
