//! The few CPU primitives that code without an architecture needs: atomic words, waiting, a lock of readers and writers, bounds
//! under speculation, and the clearing and cleaning of pages.
//!
//! `target_arch` chooses between the instructions of a CPU and a portable form. The portable form is right for a program of
//! an operating system, whose caches are coherent and which nobody attacks by speculation.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(target_os = "none", no_std)]

#[macro_use]
mod sysreg;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub use aarch64::{clean_to_memory, index_nospec, zero_page};
#[cfg(target_arch = "aarch64")]
pub use sysreg::{dsb, isb, send_event};

pub mod atomic;
pub mod model;
mod phase_fair;
pub mod steps;
pub use phase_fair::PhaseFair;

#[cfg(not(target_arch = "aarch64"))]
mod portable;
#[cfg(not(target_arch = "aarch64"))]
pub use portable::{clean_to_memory, index_nospec, zero_page};

/// Bytes that [`zero_page`] clears.
pub const PAGE_SIZE: u64 = 4096;

/// Tells the CPU, and the emulator that plays it, that the surrounding loop waits for someone else: `yield` on Arm, `pause`
/// on x86.
#[cfg(target_os = "none")]
#[inline(always)]
pub fn relax() {
    core::hint::spin_loop();
}

/// Lets another thread run: on a host the one that is waited for may have no CPU.
#[cfg(not(target_os = "none"))]
pub fn relax() {
    #[cfg(feature = "loom")]
    if model::is_running() {
        return model::thread::yield_now();
    }
    std::thread::yield_now();
}
