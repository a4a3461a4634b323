//! From a parsed machine to running domains, the same for every architecture: what only the architecture can do, the caller
//! of [`boot`] hands in as a [`Machine`].
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs at boot alone, when no domain can fill the heap"
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aarch64;
mod boot_domains;
mod dma;
mod end;
mod first;
mod load;
mod machine;
mod memory_layout;
mod start;
mod static_shm;

// The machine's and the guests' architecture. Nothing beside that module, and `boot_domains::aarch64`, names what only one has.
use aarch64 as guest;

pub use boot_domains::build_boot_domains;
pub use first::{FirstError, GRANT_FRAMES, Modules, build_first};
pub use load::{LoadError, Ready};
pub use machine::{Image, Machine};
pub use memory_layout::{LayoutError, MemoryLayout};
pub use start::boot;
pub use static_shm::{NotTaken, StaticShm};
