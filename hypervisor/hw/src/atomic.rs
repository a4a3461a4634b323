//! Atomic words and fences: what every lock-free protocol of the hypervisor is made of.
//!
//! On the machine they are `core`'s. Tests build with the feature `loom`, and then they are the model checker's too, inside of
//! what `model::explore` runs.

#[cfg(not(feature = "loom"))]
pub use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(feature = "loom")]
mod modelled;
#[cfg(feature = "loom")]
pub use modelled::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
