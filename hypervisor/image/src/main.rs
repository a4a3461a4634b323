//! The bootable image: the way into EL2 and out of it, and what begins there.
//!
//! Boot loader → `entry` → `boot` → `xenolith_boot` (for which `machine` does what the architecture must) → `vectors`, and from
//! then on `vectors` → `traps` → `xenolith_cpu` → `vectors`. On a host there is nothing to start.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "allocates at boot alone, when no domain can fill the heap"
)]
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[macro_use(read_sysreg, write_sysreg)]
extern crate xenolith_hw;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod copy;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod hypervisor;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod percpu;
#[cfg(target_os = "none")]
mod secondary;
#[cfg(target_os = "none")]
mod selftest;
#[cfg(target_os = "none")]
mod spin_table;
#[cfg(target_os = "none")]
mod traps;
#[cfg(target_os = "none")]
mod vectors;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "xenolith runs on the bare machine: `cargo xtask build` makes its image, `cargo xtask run` starts it"
    );
    std::process::exit(1);
}
