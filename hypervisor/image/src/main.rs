//! The bootable image: the library, started by `arch/aarch64/entry.rs`. On a host there is nothing to start.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate xenolith;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "xenolith runs on the bare machine: `cargo xtask build` makes its image, `cargo xtask run` starts it"
    );
    std::process::exit(1);
}
