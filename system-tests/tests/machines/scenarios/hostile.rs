//! A first domain that does all that a kernel should not: it gets its answers, and the hypervisor lives.

use anyhow::{Result, ensure};
use system_tests::setup::Setup;
use testbed::qemu::Gic;

use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    [(Gic::V2, "cortex-a53"), (Gic::V3, "cortex-a57"), (Gic::V3, "cortex-a76"), (Gic::V3, "max")]
        .map(|(gic, cpu)| {
            Scenario::new(format!("hostile/gicv{gic}-{cpu}"), move |lab| hostile(lab, gic, cpu))
        })
        .into()
}

fn hostile(lab: &Lab, gic: Gic, cpu: &'static str) -> Result<()> {
    let mut setup = Setup::new(&lab.assets).option("dom0_max_vcpus=1");
    setup.kernel = Some(lab.assets.hostile.clone());
    (setup.gic, setup.cpu) = (gic, cpu);
    let mut machine = lab.start(&setup)?;
    let before = machine.expect("hostile: ")?;
    let result = machine.expect("\n")?;
    let failures: Vec<&str> = before.lines().filter(|line| line.contains("FAILED")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(result.ends_with(" 0 failed"), "{result}");
    machine.wait_for_end()?;
    Ok(())
}
