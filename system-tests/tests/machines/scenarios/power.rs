//! How the first domain ends, and what becomes of the machine.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use crate::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("power/off", |lab| ends(lab, "poweroff -f", "powered off")),
        Scenario::new("power/off-from-another-cpu", |lab| ends(lab, "taskset 2 poweroff -f", "powered off")),
        Scenario::new("power/reset", |lab| ends(lab, "reboot -f", "reboots")),
        Scenario::new("power/crash-resets", crash_resets),
        Scenario::new("power/crash-halts", crash_halts),
    ]
}

/// The command ends the domain, the hypervisor says how, and the machine ends: a reset ends QEMU too.
fn ends(lab: &Lab, command: &str, says: &str) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?)?;
    machine.shell()?.last(command)?;
    let words = machine.wait_for_end()?;
    ensure!(words.contains(says), "the hypervisor did not say {says:?}: {words}");
    Ok(())
}

const CRASH: &str = "echo c >/proc/sysrq-trigger";

fn crash_resets(lab: &Lab) -> Result<()> {
    let setup = lab.linux(Series::V6_1)?.bootarg("panic=1").option("on_crash=reboot");
    let mut machine = lab.start(&setup)?;
    machine.shell()?.last(CRASH)?;
    machine.expect("Kernel panic - not syncing: sysrq triggered crash")?;
    machine.wait_for_end()?;
    Ok(())
}

fn crash_halts(lab: &Lab) -> Result<()> {
    let setup = lab.linux(Series::V6_1)?.bootarg("panic=1").option("on_crash=halt");
    let mut machine = lab.start(&setup)?;
    machine.shell()?.last(CRASH)?;
    machine.expect("Kernel panic - not syncing: sysrq triggered crash")?;
    machine.expect("halted")?;
    Ok(())
}
