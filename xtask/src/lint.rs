//! `cargo xtask lint`: the layers, clippy over the host's packages and over what runs in the machine.
//!
//! A step that fails does not stop the next, so that one run tells all that is wrong.

use anyhow::{Result, bail};
use clap::Args;
use testbed::process::{open_step, pass_through, step};
use testbed::toolchain::{Cross, Target, cargo};

use crate::layers::{self, workspace};

/// What is linted.
#[derive(Args)]
pub struct Options {
    /// Only the layers; of circles, every arrow is listed
    #[arg(long)]
    layers: bool,
}

/// Lints everything, with warnings denied.
pub fn lint(options: &Options) -> Result<()> {
    if options.layers {
        let report = report()?;
        print!("{}", report.at_length());
        return if report.is_clean() { Ok(()) } else { bail!("the layers do not hold") };
    }
    let steps = [layers, host, bare_metal];
    let mut failed = 0;
    for step in steps {
        if let Err(error) = step() {
            eprintln!("error: {error:#}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} lints failed", steps.len()),
    }
}

fn report() -> Result<layers::Report> {
    let (packages, sources) = workspace::read()?;
    layers::check(&packages, &sources, &workspace::table()?)
}

/// Nothing imports what is above it, and nothing is used in a circle.
fn layers() -> Result<()> {
    let report = step("Check the layers", report)?;
    if !report.is_clean() {
        eprint!("{report}");
        bail!("the layers of hypervisor/layers.toml do not hold (`cargo xtask lint --layers` tells more)");
    }
    Ok(())
}

fn host() -> Result<()> {
    open_step("Lint for the host (clippy)", || {
        let mut command = cargo("clippy");
        pass_through(command.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    open_step("Lint the hypervisor without I/O forwarding (clippy)", || {
        let mut command = cargo("clippy");
        command.args(["--package", "xenolith", "--no-default-features", "--all-targets"]);
        pass_through(command.args(["--", "-D", "warnings"]))
    })
}

fn bare_metal() -> Result<()> {
    let cross = Cross::prepare(Target::Hypervisor)?;
    open_step("Lint for bare metal (clippy)", || {
        let mut command = cross.cargo("clippy");
        for package in ["xenolith", "bench-guests", "system-tests-bare"] {
            command.args(["--package", package]);
        }
        pass_through(command.args(["--", "-D", "warnings"]))
    })?;
    open_step("Lint for bare metal without I/O forwarding (clippy)", || {
        let mut command = cross.cargo("clippy");
        command.args(["--package", "xenolith", "--no-default-features"]);
        pass_through(command.args(["--", "-D", "warnings"]))
    })
}
