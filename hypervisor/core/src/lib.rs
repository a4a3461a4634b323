//! What every layer names: numbers with types of their own, locks, timer queues, the image's symbols, and a word for
//! what cannot happen.
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
#[cfg(feature = "lockdep")]
extern crate std;

pub mod bug;
pub mod cpu_mask;
pub mod guest_index;
pub mod proof;
pub mod symbols;
pub mod sync;
pub mod timer_queue;
pub mod types;
pub mod vcpu_set;
