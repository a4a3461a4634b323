//! From a parsed machine to running domains.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot_domains;
mod first;
mod load;
mod static_shm;

pub use boot_domains::build_boot_domains;
pub use first::{FirstError, GRANT_FRAMES, Modules, build_first};
pub use load::{LoadError, Ready};
pub use static_shm::{NotTaken, StaticShm};
