//! The hypervisor's memory, by the account that it gives at boot.

use anyhow::Result;

use super::run::{DOMAIN_MIB, MACHINE_MIB, Run};
use super::table::{Limit, Row, Table};

/// The most that the hypervisor may keep for itself beside its image, in KiB.
const LARGEST_KIB: f64 = 8192.0;

/// Takes the figure from a boot's log.
pub fn read(run: &Run, table: &mut Table) -> Result<()> {
    table.push(Row {
        what: format!("kept beside the image, {DOMAIN_MIB} MiB domain in a {MACHINE_MIB} MiB machine"),
        value: run.number_after("kept beside it: ")? as f64,
        unit: "KiB",
        decimals: 0,
        spread: None,
        limit: Some(Limit::AtMost(LARGEST_KIB)),
    });
    Ok(())
}
