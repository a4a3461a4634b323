//! `cargo xtask bench`: figures of the present build, as tables that are kept in `docs/benchmark.md` and drawn beside it.
//!
//! The machines count instructions (QEMU's `-icount`), so that the figures repeat exactly: what costs instructions is
//! seen in the difference of two runs. Times by the host's clock are printed for orientation only, and not kept. A guest's
//! disk cannot be measured in that way, as it waits for the host; of it the ratio of two machines is kept.

mod boot;
mod disk;
mod forward;
mod guests;
mod memory;
mod neighbour;
mod report;
mod run;
mod switch;
mod table;
mod traps;

use anyhow::Result;
use clap::{Args, ValueEnum};
use testbed::host::{self, Need};
use testbed::kernel::Series;

use crate::{build, pictures};
use guests::Guests;
use table::{Limit, Row, Table};

/// What is measured.
#[derive(Args)]
pub struct Options {
    /// Measure this alone, and print it; the page stays as it is
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of what there is to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a trap and a switch of vCPUs cost
    Traps,
    /// What a hostile guest costs the one beside it
    Neighbour,
    /// What a forwarded access costs
    Forward,
    /// The boot of Linux
    Boot,
    /// A guest's disk
    Disk,
}

/// The kernel of machines with a device model.
const SERIES: Series = Series::V6_12;
/// The kernels whose boots are counted: those that stay for years.
const BOOTED: [Series; 2] = [Series::V6_1, Series::V6_12];

/// Sets up, builds, measures, prints the tables and keeps them.
pub fn bench(options: &Options) -> Result<()> {
    host::ensure(&[Need::QEMU])?;
    let sizes = build::build()?;
    let guests = Guests::build()?;
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let (mut table, mut disk, mut clock) = (Table::default(), Table::default(), Table::default());
    table.push(Row {
        what: "image, text and data".into(),
        value: sizes.text_and_data() as f64 / 1024.0,
        unit: "KiB",
        decimals: 1,
        spread: None,
        limit: Some(Limit::AtMost((build::LARGEST_IMAGE / 1024) as f64)),
    });
    if wanted(Part::Traps) {
        traps::measure(&guests, &mut table)?;
        switch::measure(&guests, &mut table)?;
    }
    if wanted(Part::Neighbour) {
        neighbour::measure(&guests, &mut table)?;
    }
    if wanted(Part::Forward) {
        forward::measure(SERIES, &guests, &mut table)?;
    }
    let mut kernels = Vec::new();
    if wanted(Part::Boot) {
        for series in BOOTED {
            kernels.push(boot::measure(series, &guests, &mut table, &mut clock)?);
        }
    }
    if wanted(Part::Disk) {
        disk::measure(SERIES, &mut disk)?;
    }
    println!("\n{table}\n{disk}\nBy the host's clock, for orientation:\n\n{clock}");
    if options.only.is_none() {
        report::keep(&table, &disk, &kernels)?;
        println!("Kept in {}", report::file().display());
        pictures::draw()?;
    }
    Ok(())
}
