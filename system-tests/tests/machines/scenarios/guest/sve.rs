//! SVE in domains with vectors of different lengths, which share CPUs.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use crate::rig::{At, Rig};
use crate::scenarios::backend::{control_alone, description};
use system_tests::harness::{Lab, Scenario};
use system_tests::shell::{READY, Shell};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("guest/sve", |lab| run(lab, Series::V6_12, false)),
        Scenario::new("guest/sve-newer", |lab| run(lab, Series::V7, true)),
    ]
}

/// Guests: name, what their files say, and the bits that their CPUs' vectors then have.
const GUESTS: [(&str, &str, &str); 3] =
    [("longest", "", "2048"), ("short", "sve = 256\n", "256"), ("hidden", "sve = false\n", "0")];
/// Lets programs have the longest vectors that the kernel has found; as it is, Linux gives them 512 bits at most.
const LONGEST: &str = "F=/proc/sys/abi/sve_default_vector_length; [ ! -e $F ] || echo 256 >$F";
/// Holds the registers for a while, and says at the end how that went.
const HOLD: &str = "(guest-tests sve 10 >/tmp/sve 2>&1 &)";
/// Waits for that.
const HELD: &str = "until grep -q failed /tmp/sve; do sleep 0.5; done; cat /tmp/sve";

/// Each domain has vectors of the length that it is to have, and finds in them what it has put there.
fn run(lab: &Lab, series: Series, newer_qemu: bool) -> Result<()> {
    let mut setup = control_alone(lab, series)?.option("dom0=sve=512");
    (setup.newer_qemu, setup.cpu) = (newer_qemu, "max");
    // The newest kernel does not start in 128 MiB.
    setup.memory_mib = 1536;
    let mut rig = Rig::start(lab, &setup)?;
    for (name, sve, _) in GUESTS {
        rig.create(
            name,
            &description("")
                .replace("\"guest\"", &format!("\"{name}\""))
                .replace("memory = \"128M\"", &format!("{sve}memory = \"192M\"")),
        )?;
        rig.at(name, |at| at.expect(READY).map(drop))?;
    }
    hold(&mut rig.control())?;
    for (name, ..) in GUESTS {
        rig.at(name, |at| hold(&mut at.shell()))?;
    }
    has_held(&mut rig.control(), "512")?;
    for (name, _, bits) in GUESTS {
        rig.at(name, |at: &mut At<'_>| has_held(&mut at.shell(), bits))?;
    }
    rig.power_off()
}

fn hold(shell: &mut Shell<'_>) -> Result<()> {
    shell.check(LONGEST)?;
    shell.check(HOLD).map(drop)
}

fn has_held(shell: &mut Shell<'_>, bits: &str) -> Result<()> {
    let said = shell.check(HELD)?;
    ensure!(said.lines().any(|line| line == format!("sve: {bits} bits")), "not {bits} bits: {said}");
    let passed = if bits == "0" { "0 passed, 0 failed" } else { "1 passed, 0 failed" };
    ensure!(said.lines().any(|line| line == passed), "with {bits} bits: {said}");
    Ok(())
}
