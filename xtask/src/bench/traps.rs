//! What a trap costs: instructions at EL2, from the trap to the return.

use anyhow::Result;
use testbed::paths;
use testbed::qemu::Boot;

use super::guests::Guests;
use super::run;
use super::table::{Row, Table};

/// What the kernel of `bench/src/bin/traps.rs` calls each trap, and what the table does.
const TRAPS: [(&str, &str); 3] = [
    ("hypercall", "null hypercall (xen_version)"),
    ("GICD_TYPER", "read of GICD_TYPER"),
    ("GICD_ISENABLER", "read of GICD_ISENABLER1"),
];

/// Measures each trap.
pub fn measure(guests: &Guests, table: &mut Table) -> Result<()> {
    let machine = run::counting(Boot::Hypervisor {
        image: paths::image(),
        args: run::arguments(),
        kernel: Some(guests.traps.clone()),
        initrd: None,
        bootargs: String::new(),
        domains: Vec::new(),
    });
    let run = run::run("Count the instructions of traps", &machine)?;
    for (name, what) in TRAPS {
        let ticks = run.number_after(&format!("bench: {name} "))?;
        let times = run.number_after(&format!("bench: {name} {ticks} in "))?;
        table.push(Row {
            what: what.into(),
            value: ticks as f64 / times as f64,
            unit: "instructions",
            decimals: 1,
            limit: None,
        });
    }
    Ok(())
}
