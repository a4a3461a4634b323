//! `cargo xtask lint`: clippy over the host's packages and over what runs in the machine.

use anyhow::Result;
use testbed::process::{open_step, pass_through};
use testbed::toolchain::{Cross, Target, cargo};

/// Lints the host's packages, then those that run on bare metal, with warnings denied.
pub fn lint() -> Result<()> {
    open_step("Lint for the host (clippy)", || {
        let mut command = cargo("clippy");
        pass_through(command.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    open_step("Lint the hypervisor without I/O forwarding (clippy)", || {
        let mut command = cargo("clippy");
        command.args(["--package", "xenolith-sim", "--no-default-features", "--all-targets"]);
        pass_through(command.args(["--", "-D", "warnings"]))
    })?;
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
