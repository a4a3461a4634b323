//! Where the kernels of guests are: somewhere else each time, or where they were linked to.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use crate::rig::Rig;
use crate::scenarios::backend::{control_alone, description};
use system_tests::harness::{Lab, Scenario};
use system_tests::shell::{READY, Shell};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![Scenario::new("guest/kaslr", run)]
}

/// Starts a guest, and returns where its kernel is and whether Linux says that it was moved there.
fn start(rig: &mut Rig, name: &str, more: &str) -> Result<(String, bool)> {
    let guest = description("").replace("\"guest\"", &format!("\"{name}\""));
    rig.create(name, &format!("{more}{guest}"))?;
    rig.at(name, |at| {
        at.expect(READY)?;
        found(&mut at.shell())
    })
}

fn found(shell: &mut Shell<'_>) -> Result<(String, bool)> {
    let text = shell.check("echo 0 >/proc/sys/kernel/kptr_restrict; grep ' _text$' /proc/kallsyms")?;
    let said = shell.check("dmesg | grep -o 'KASLR [ed][a-z]*'")?;
    Ok((text, said == "KASLR enabled"))
}

/// Two boots of one guest, one of a guest that wants none of it, and the first domain.
fn run(lab: &Lab) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?)?;
    let control = found(&mut rig.control())?;
    let one = start(&mut rig, "one", "")?;
    rig.lith("destroy one")?;
    let again = start(&mut rig, "one", "")?;
    let fixed = start(&mut rig, "fixed", "kaslr = false\n")?;
    ensure!(control.1 && one.1 && again.1 && !fixed.1, "KASLR: {control:?} {one:?} {again:?} {fixed:?}");
    let mut places = vec![&control.0, &one.0, &again.0, &fixed.0];
    places.sort();
    places.dedup();
    ensure!(places.len() == 4, "kernels at one place: {control:?} {one:?} {again:?} {fixed:?}");
    rig.power_off()
}
