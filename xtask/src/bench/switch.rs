//! What it costs to switch from one vCPU to another on a CPU, and how much more where both use SVE.

use anyhow::Result;
use testbed::qemu::{Boot, StaticShared};

use super::guests::Guests;
use super::run;
use super::table::{Limit, Row, Table};

/// The most that SVE may add to a switch: 33 instructions each way, for 32 Z registers, 16 P registers and FFR in place of 16
/// pairs of V registers, and half as many again for lengths and traps.
const FOR_SVE: f64 = 100.0;

/// Measures a switch with V registers alone, and with SVE.
pub fn measure(guests: &Guests, table: &mut Table) -> Result<()> {
    let mut machine = run::counting(Boot::Hypervisor {
        image: testbed::paths::image(),
        args: format!("{} dom0=sve dom0_max_vcpus=2", run::arguments()),
        kernel: Some(guests.switch.clone()),
        initrd: None,
        bootargs: String::new(),
        domains: Vec::new(),
        static_shared: StaticShared::default(),
    });
    machine.cpu = "max".to_owned();
    let run = run::run("Count the instructions of switches", &machine)?;
    let cost = |name: &str| -> Result<f64> {
        let ticks = run.number_after(&format!("bench: {name} "))?;
        let times = run.number_after(&format!("bench: {name} {ticks} in "))?;
        Ok(ticks as f64 / times as f64)
    };
    let (plain, sve) = (cost("switch")?, cost("switch-sve")?);
    let mut add = |what: &str, value, limit| {
        table.push(Row { what: what.into(), value, unit: "instructions", decimals: 1, spread: None, limit });
    };
    add("switch to another vCPU, by yield", plain, None);
    add("what SVE of both adds to it", sve - plain, Some(Limit::AtMost(FOR_SVE)));
    Ok(())
}
