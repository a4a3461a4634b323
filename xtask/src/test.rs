//! `cargo xtask test`: every test there is, on the host and in whole machines.
//!
//! A suite that fails does not stop the next. The last line printed is `N passed, N failed`.

mod tally;

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use testbed::host::{self, Need};
use testbed::toolchain::cargo;

use crate::{build, fuzz};
use tally::Tally;

/// What is tested.
#[derive(Args)]
pub struct Options {
    /// Only Xen's own tools, of all versions, in a control domain on our hypervisor
    #[arg(long)]
    tools: bool,
}

/// The package of the whole-machine tests. Its tests need the image, so that it stays out of the host's run.
const MACHINE_TESTS: &str = "system-tests";

/// Seconds for which each fuzz target runs.
const FUZZ_SECONDS: u32 = 20;

/// Sets up, runs the suites, and prints the sum.
pub fn test(options: &Options) -> Result<()> {
    host::ensure(&[Need::QEMU, Need::LINKER, Need::LIBC, Need::MKE2FS, Need::CXX, Need::QEMU_IMG])?;
    let mut tally = Tally::default();
    if options.tools {
        println!("Xen's own tools");
        machines(&mut tally, &["--test", "tools"])?;
    } else {
        all(&mut tally)?;
    }
    println!("{tally}");
    if tally.any_failed() {
        bail!("tests failed");
    }
    Ok(())
}

fn all(tally: &mut Tally) -> Result<()> {
    println!("Host tests");
    tally.run(cargo_test(&["--workspace", "--exclude", MACHINE_TESTS]))?;
    println!("Host tests of a hypervisor without I/O forwarding");
    tally.run(cargo_test(&[
        "--package",
        "xenolith-sim",
        "--package",
        "xenolith-policy",
        "--package",
        "xenolith-domain",
        "--no-default-features",
    ]))?;
    println!("Fuzz targets, {FUZZ_SECONDS} s each");
    for target in fuzz::targets()? {
        tally.count(fuzz::run(&target, FUZZ_SECONDS));
    }
    println!("Whole-machine tests");
    machines(tally, &["--lib", "--test", "headers", "--test", "machines"])?;
    println!("Xen's own tools of 4.17 (`--tools` takes those of 4.20 too)");
    machines(tally, &["--test", "tools", "--", "4.17"])
}

/// Runs whole-machine tests: all of them, or those that `targets` selects.
fn machines(tally: &mut Tally, targets: &[&str]) -> Result<()> {
    match build::build() {
        Ok(_) => tally.run(cargo_test(&[&["--package", MACHINE_TESTS], targets].concat()))?,
        Err(error) => tally.count(Err(error)),
    }
    Ok(())
}

fn cargo_test(selection: &[&str]) -> Command {
    let mut command = cargo("test");
    command.arg("--no-fail-fast").args(selection);
    command
}
