//! Boot to a shell and power off.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use crate::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("harness/linux-without-hypervisor", linux_without_hypervisor)]
}

/// The harness itself: the same kernel and shell with no hypervisor under them.
fn linux_without_hypervisor(lab: &Lab) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.bare())?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("uname -m")? == "aarch64");
    ensure!(shell.run("false")?.status == 1);
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    Ok(())
}
