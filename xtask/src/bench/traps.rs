//! What a trap costs: instructions at EL2, from the trap to the return; and how many of them are there because accesses
//! can be forwarded, in a domain that no device model serves.

use std::path::PathBuf;

use anyhow::Result;
use testbed::qemu::{Boot, StaticShared};
use testbed::toolchain::{Cross, Target};
use testbed::{image, paths};

use super::guests::Guests;
use super::run;
use super::table::{Limit, Row, Table};

/// What the kernel of `bench/src/bin/traps.rs` calls each trap, what the table does, and the most that it may cost.
const TRAPS: [(&str, &str, Option<f64>); 3] = [
    ("hypercall", "null hypercall (xen_version)", Some(270.0)),
    ("GICD_TYPER", "read of GICD_TYPER", Some(419.0)),
    ("GICD_ISENABLER", "read of GICD_ISENABLER1", None),
];

/// The most that I/O forwarding may add to a trap of a domain without a device model: a load and a branch.
const FOR_FORWARDING: f64 = 2.0;

/// Measures each trap with the image, and with one that is built without I/O forwarding.
pub fn measure(guests: &Guests, table: &mut Table) -> Result<()> {
    let without = paths::cache().join("bench-no-forwarding.img");
    image::build_without_features(&Cross::prepare(Target::Hypervisor)?, &without)?;
    let costs = count("Count the instructions of traps", guests, paths::image())?;
    let bare = count("Count them without I/O forwarding", guests, without)?;
    let mut add = |what: &str, value, limit| {
        table.push(Row { what: what.into(), value, unit: "instructions", decimals: 1, spread: None, limit });
    };
    let mut most = f64::NEG_INFINITY;
    for ((_, what, limit), (cost, bare)) in TRAPS.into_iter().zip(costs.into_iter().zip(bare)) {
        add(what, cost, limit.map(Limit::AtMost));
        most = most.max(cost - bare);
    }
    add("the most that I/O forwarding adds to one of these", most, Some(Limit::AtMost(FOR_FORWARDING)));
    Ok(())
}

/// What each trap costs with this image.
fn count(what: &str, guests: &Guests, image: PathBuf) -> Result<Vec<f64>> {
    let machine = run::counting(Boot::Hypervisor {
        image,
        args: run::arguments(),
        kernel: Some(guests.traps.clone()),
        initrd: None,
        bootargs: String::new(),
        domains: Vec::new(),
        static_shared: StaticShared::default(),
    });
    let run = run::run(what, &machine)?;
    let cost = |(name, ..): (&str, &str, Option<f64>)| {
        let ticks = run.number_after(&format!("bench: {name} "))?;
        let times = run.number_after(&format!("bench: {name} {ticks} in "))?;
        Ok(ticks as f64 / times as f64)
    };
    TRAPS.into_iter().map(cost).collect()
}
