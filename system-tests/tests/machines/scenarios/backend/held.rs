//! Requests that are never answered: whatever state their slots are left in, each way that they can end leaves a guest
//! that goes on, or none.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use super::{BARE, control_alone};
use crate::rig::Rig;
use system_tests::harness::Lab;

/// States that a slot can show.
const STATES: u8 = 16;
/// The guest's number.
const NUMBER: &str = "$(lith list | awk '/^bare/ { print $2 }')";

/// Its server is destroyed, its device model forbidden or killed: the vCPU goes on. The guest is shut down or destroyed:
/// nothing is left of it.
pub fn run(lab: &Lab) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?)?;
    rig.write("/bare.toml", &format!("{BARE}on_poweroff = \"preserve\"\n"))?;
    let free = rig.free_kib()?;
    rig.lith("create --paused /bare.toml")?;
    start(&mut rig, "held-requests", "")?;
    let said = rig.control().check("until grep ' failed' /tmp/held; do sleep 0.1; done; cat /tmp/held")?;
    ensure!(said.ends_with(" 0 failed"), "{said}");
    rig.lith("destroy bare")?;
    rig.wait_for_domains(1)?;
    for state in 0..STATES {
        for shut_down in [true, false] {
            rig.lith("create --paused /bare.toml")?;
            hold(&mut rig, state)?;
            if shut_down {
                rig.control().check(&format!("guest-tests shut-down {NUMBER}"))?;
                rig.control().check("until lith list | grep -q '^bare.* off'; do sleep 0.1; done")?;
            }
            // The page of the slots is mapped until the device model is gone, and so long `destroy` waits.
            rig.control().check("{ lith destroy bare >/tmp/destroyed 2>&1 & }")?;
            rig.control().check("until lith list | grep -q ' dying'; do sleep 0.1; done")?;
            rig.control().check("kill -9 $(cat /tmp/pid) && wait && ! grep . /tmp/destroyed")?;
            rig.wait_for_domains(1)?;
            let now = rig.free_kib()?;
            ensure!(now == free, "{now} KiB are free after state {state}, and were {free} before");
        }
    }
    rig.power_off()
}

/// Has a process hold a request of the guest in a state, and waits until it does.
fn hold(rig: &mut Rig, state: u8) -> Result<()> {
    start(rig, "hold-request", &state.to_string())?;
    let held = rig.control().check("until grep -E 'holds|FAILED' /tmp/held; do sleep 0.1; done")?;
    ensure!(held.contains("holds"), "in state {state}: {held}");
    Ok(())
}

/// Starts a device model, and then the guest, so that its first access finds the model there.
fn start(rig: &mut Rig, model: &str, argument: &str) -> Result<()> {
    rig.control().check(&format!("guest={NUMBER}; : >/tmp/held"))?;
    let command = format!("guest-tests {model} $guest {argument}");
    rig.control().check(&format!("({command} >/tmp/held & echo $! >/tmp/pid)"))?;
    rig.lith("unpause bare").map(drop)
}
