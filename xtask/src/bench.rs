//! `cargo xtask bench`: figures of the present build, as a table that is kept in `docs/benchmark.md`.
//!
//! The machines count instructions (QEMU's `-icount`), so that the figures repeat exactly: what costs instructions is
//! seen in the difference of two runs. Times by the host's clock are printed for orientation only, and not kept.

mod boot;
mod disk;
mod forward;
mod guests;
mod memory;
mod report;
mod run;
mod table;
mod traps;

use anyhow::Result;
use testbed::host::{self, Need};
use testbed::kernel::Series;

use crate::build;
use guests::Guests;
use table::{Limit, Row, Table};

/// Sets up, builds, measures, prints the table and keeps it.
pub fn bench() -> Result<()> {
    host::ensure(&[Need::QEMU])?;
    if std::env::var_os("ONLY_DISK").is_some() {
        build::build()?;
        let mut t = Table::default();
        disk::measure(Series::V6_12, &mut t)?;
        println!("{t}");
        return Ok(());
    }
    if std::env::var_os("ONLY_FORWARD").is_some() {
        let mut t = Table::default();
        let guests = Guests::build()?;
        forward::measure(Series::V6_12, &guests, &mut t)?;
        println!("{t}");
        return Ok(());
    }
    let sizes = build::build()?;
    let guests = Guests::build()?;
    let mut table = Table::default();
    table.push(Row {
        what: "image, text and data".into(),
        value: sizes.text_and_data() as f64 / 1024.0,
        unit: "KiB",
        decimals: 1,
        limit: Some(Limit::AtMost((build::LARGEST_IMAGE / 1024) as f64)),
    });
    traps::measure(&guests, &mut table)?;
    let mut clock = Table::default();
    let mut kernels = Vec::new();
    for series in Series::ALL {
        kernels.push(boot::measure(series, &guests, &mut table, &mut clock)?);
    }
    report::keep(&table, &kernels)?;
    println!("\n{table}\nBy the host's clock, for orientation:\n\n{clock}");
    println!("Kept in {}", report::file().display());
    Ok(())
}
