//! `cargo xtask lint`: the layers, the pictures, the claims, the indices, the proofs, what must compile anywhere, clippy, and
//! the documentation.
//!
//! A step that fails does not stop the next, so that one run tells all that is wrong.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use testbed::process::{open_step, pass_through, step};
use testbed::toolchain::{Cross, Target, cargo};

use crate::claims;
use crate::indices;
use crate::layers::{self, workspace};
use crate::pictures;
use crate::proofs;

/// What is linted.
#[derive(Args)]
pub struct Options {
    /// Only these; `layers` alone lists every arrow of a circle [default: all]
    #[arg(value_enum)]
    lints: Vec<Lint>,
}

/// A part of the lint.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lint {
    /// Imports and manifests against hypervisor/layers.toml, and circles among files
    Layers,
    /// The pictures, against what their sources give
    Pictures,
    /// The claims of docs/threat-model.md: each names a test that there is
    Claims,
    /// The elements that guests' numbers lead to, against hypervisor/indices.toml
    Indices,
    /// The proofs for Kani, compiled as it would
    Proofs,
    /// The packages without an architecture, compiled for others than ours
    Neutral,
    /// Clippy for the host
    Host,
    /// Clippy for bare metal
    BareMetal,
    /// The documentation
    Docs,
}

/// Lints, with warnings denied.
pub fn lint(options: &Options) -> Result<()> {
    if options.lints == [Lint::Layers] {
        let report = report()?;
        print!("{}", report.at_length());
        return if report.is_clean() { Ok(()) } else { bail!("the layers do not hold") };
    }
    let chosen = match options.lints.as_slice() {
        [] => Lint::value_variants(),
        chosen => chosen,
    };
    let mut failed = 0;
    for lint in chosen {
        if let Err(error) = lint.run() {
            eprintln!("error: {error:#}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} lints failed", chosen.len()),
    }
}

impl Lint {
    /// What the parts are called.
    fn names() -> Vec<String> {
        let values = Lint::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect()
    }

    fn run(self) -> Result<()> {
        match self {
            Lint::Layers => layers(),
            Lint::Pictures => step("Check the pictures", pictures::check),
            Lint::Claims => step("Check the claims", || claims::check(&Lint::names())),
            Lint::Indices => step("Check the indices", indices::check),
            Lint::Proofs => open_step("Compile the proofs as for Kani", proofs::check),
            Lint::Neutral => neutral(),
            Lint::Host => host(),
            Lint::BareMetal => bare_metal(),
            Lint::Docs => documentation(),
        }
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
        bail!("the layers of hypervisor/layers.toml do not hold (`cargo xtask lint layers` tells more)");
    }
    Ok(())
}

/// What knows no architecture compiles for others than ours.
fn neutral() -> Result<()> {
    let table = workspace::table()?;
    if table.neutral.is_empty() {
        return Ok(());
    }
    for target in Target::OTHERS {
        let cross = Cross::prepare(target)?;
        open_step(&format!("Check the neutral packages for {}", target.triple()), || {
            let packages = table.neutral.iter().flat_map(|package| ["--package", package]);
            pass_through(cross.cargo("check").args(packages))
        })?;
    }
    Ok(())
}

/// The documentation builds, and its links lead somewhere.
fn documentation() -> Result<()> {
    open_step("Build the documentation", || {
        let mut command = cargo("doc");
        command.args(["--workspace", "--no-deps"]);
        pass_through(command.env("RUSTDOCFLAGS", "-D warnings"))
    })
}

fn host() -> Result<()> {
    open_step("Lint for the host (clippy)", || {
        let mut command = cargo("clippy");
        pass_through(command.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    open_step("Lint the hypervisor without I/O forwarding (clippy)", || {
        let mut command = cargo("clippy");
        command.args(["--package", "xenolith-sim", "--no-default-features", "--all-targets"]);
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
    // Apart: beside the hypervisor its crates would have the hypervisor's features, which need an allocator.
    open_step("Lint the example for bare metal (clippy)", || {
        pass_through(cross.cargo("clippy").args(["--package", "bare-guest", "--", "-D", "warnings"]))
    })?;
    open_step("Lint the hypervisor's builds for tests and benchmarks for bare metal (clippy)", || {
        let mut command = cross.cargo("clippy");
        command.args(["--package", "xenolith", "--features", "accounting,check-tables"]);
        pass_through(command.args(["--", "-D", "warnings"]))
    })?;
    open_step("Lint for bare metal without I/O forwarding (clippy)", || {
        let mut command = cross.cargo("clippy");
        command.args(["--package", "xenolith", "--no-default-features"]);
        pass_through(command.args(["--", "-D", "warnings"]))
    })
}
