//! The hypervisor as a whole.

mod boot;
mod memory;
mod support;
