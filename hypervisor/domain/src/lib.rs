//! The hypervisor's state: domains with their vCPUs, the machine's resources, and what joins the parts.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod accounting;
pub mod arch;
pub mod console;
pub mod cpu;
pub mod debug_keys;
pub mod domain;
pub mod hypervisor;
pub mod life;
pub mod parts;
pub mod timers;
pub mod vcpu;

pub use xenolith_memory::arc::Arc;
