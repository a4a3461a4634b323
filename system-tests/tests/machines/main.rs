//! The scenarios, each a trial of its own name. `cargo test -p system-tests --test machines -- gicv2` runs
//! those with `gicv2` in their names.

#![deny(unsafe_code)]

mod rig;
mod scenarios;

use std::process::ExitCode;

use system_tests::harness;

fn main() -> ExitCode {
    harness::main(|| Ok(scenarios::all()))
}
