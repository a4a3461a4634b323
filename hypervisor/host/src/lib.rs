//! The machine as it was found: its device tree, the options, the kernel images, and who owns which device.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs at boot alone, when no domain can fill the heap"
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod branch_prediction;
pub mod command_line;
pub mod domain_tree;
pub mod errata;
pub mod image;
pub mod passthrough;
pub mod platform;
pub mod vector_length;
