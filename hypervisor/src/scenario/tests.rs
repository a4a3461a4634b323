//! The hypervisor as a whole.

mod boot;
