//! The hypervisor as a whole.

mod boot;
mod console;
mod control;
mod create;
mod events;
mod first;
mod grants;
mod hostile;
mod memory;
mod multicall;
mod power;
mod scheduling;
mod support;
