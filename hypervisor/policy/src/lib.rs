//! Xen's rules, without an architecture: event channels, grants, ioreq servers, scheduling, device slots.
//!
//! Each part is plain data with `&mut self` methods that say what is to be done; the layers above do it.
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

pub mod event;
pub mod grant;
#[cfg(feature = "ioreq")]
pub mod ioreq;
pub mod sched;
pub mod slots;
