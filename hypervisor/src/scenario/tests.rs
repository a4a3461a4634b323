//! The hypervisor as a whole.

mod boot;
mod first;
mod hostile;
mod memory;
mod multicall;
mod power;
mod support;
