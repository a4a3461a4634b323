//! Machine memory: access to frames that other parties may write at the same time, who owns each of them, and the tables by
//! which a domain reaches them.
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

extern crate alloc;

pub mod account;
pub mod arc;
#[cfg(not(target_os = "none"))]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "memory for tests, on the host")]
pub mod arena;
mod bitmap;
pub mod descriptor;
pub mod frames;
#[forbid(unsafe_code)]
pub mod intervals;
mod map_kind;
#[forbid(unsafe_code)]
pub mod p2m;
pub mod page;
pub mod pieces;
#[cfg(not(target_os = "none"))]
#[forbid(unsafe_code)]
pub mod refusal;
#[forbid(unsafe_code)]
pub mod stale;
pub mod table;
