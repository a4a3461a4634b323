//! A first domain that does all that a kernel should not: it gets its answers, and the hypervisor lives.

use anyhow::{Result, ensure};
use system_tests::setup::Setup;
use testbed::qemu::Gic;

use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let machines =
        [(Gic::V2, "cortex-a53"), (Gic::V3, "cortex-a57"), (Gic::V3, "cortex-a76"), (Gic::V3, "max")];
    let all = machines.map(|(gic, cpu)| {
        Scenario::new(format!("hostile/gicv{gic}-{cpu}"), move |lab| hostile(lab, gic, cpu))
    });
    // Without the RAS extension, and with it.
    let system_errors = ["cortex-a57", "cortex-a76"]
        .map(|cpu| Scenario::new(format!("hostile/system-error-{cpu}"), move |lab| system_error(lab, cpu)));
    all.into_iter().chain(system_errors).collect()
}

/// The hardware keeps a system error back until the guest unmasks it, also while the CPU runs something else.
fn system_error(lab: &Lab, cpu: &'static str) -> Result<()> {
    let mut setup = setup(lab, Gic::V3, cpu).option("test=system-error");
    setup.cpus = 1;
    let told = run(lab, &setup)?;
    for line in ["ok a system error waits as long", "ok a system error comes when"] {
        ensure!(told.contains(line), "no `{line}` in:\n{told}");
    }
    Ok(())
}

fn hostile(lab: &Lab, gic: Gic, cpu: &'static str) -> Result<()> {
    let told = run(lab, &setup(lab, gic, cpu))?;
    // What is done about the CPU, as far as firmware without calls lets it.
    let about: &[&str] = match cpu {
        "cortex-a53" => &["Cortex-A53, erratum 1530924: walks of stage 1 are held"],
        "cortex-a57" => &[
            "Cortex-A57, erratum 832075 is not worked around",
            "Cortex-A57, erratum 1319537: walks of stage 1 are held",
            "the CPU needs SMCCC_ARCH_WORKAROUND_1, which the firmware has not",
        ],
        "cortex-a76" => &["branch prediction: each exit replaces the history by so many branches: 0x18"],
        _ => &[],
    };
    for line in about {
        ensure!(told.contains(line), "no `{line}` in:\n{told}");
    }
    Ok(())
}

fn setup(lab: &Lab, gic: Gic, cpu: &'static str) -> Setup {
    let mut setup = Setup::new(&lab.assets).option("dom0_max_vcpus=1");
    setup.kernel = Some(lab.assets.hostile.clone());
    (setup.gic, setup.cpu) = (gic, cpu);
    setup
}

/// Runs all tests of the kernel; what it says of them.
fn run(lab: &Lab, setup: &Setup) -> Result<String> {
    let mut machine = lab.start(setup)?;
    let before = machine.expect("hostile: ")?;
    let result = machine.expect("\n")?;
    let failures: Vec<&str> = before.lines().filter(|line| line.contains("FAILED")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(result.ends_with(" 0 failed"), "{result}");
    machine.wait_for_end()?;
    Ok(before)
}
