//! Hostile userland: a program makes every call of Xen's headers with random and boundary arguments, in the control domain
//! and in one that has no rights. `guest-tests attack` says what it demands of the answers.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use system_tests::guests::ATTACK;
use system_tests::setup::Setup;
use testbed::kernel::Series;

use super::backend::{another, control_alone};
use crate::rig::Rig;
use system_tests::harness::{Lab, Scenario};

/// Set to the number of calls, and to the seed that they come from.
const CALLS_OPTION: &str = "ATTACK_CALLS";
const SEED_OPTION: &str = "ATTACK_SEED";
const CALLS: u64 = 100_000;
/// Against a hypervisor that looks at tables meanwhile, which takes longer.
const CHECKED_CALLS: u64 = 25_000;
const SEED: u64 = 1;
/// What a hypervisor that looks at tables says after many looks.
const LOOKED: &str = "looks at domains' stage 2: as specified";

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("attack/control-domain", |lab| {
            control_domain(lab, lab.assets.hypervisor.clone(), CALLS)
        }),
        Scenario::new("attack/checked-tables", checked_tables),
        Scenario::new("attack/domain-without-rights", domain_without_rights),
    ]
}

fn option(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn seed_and_calls(calls: u64) -> Result<(u64, u64)> {
    Ok((option(SEED_OPTION, SEED)?, option(CALLS_OPTION, calls)?))
}

/// The same against a hypervisor that looks at parts of the domains' tables after calls, as the MMU does, and at all of a
/// domain's at its end: it ends the machine where they are not as they are to be.
fn checked_tables(lab: &Lab) -> Result<()> {
    control_domain(lab, lab.assets.with_checked_tables()?, CHECKED_CALLS)?;
    let said = fs::read_to_string(lab.folder.join("console.log"))?;
    ensure!(said.contains(LOOKED), "the hypervisor has not looked at many tables");
    Ok(())
}

/// The machine lives on, guests can still be made, and no memory is lost.
fn control_domain(lab: &Lab, hypervisor: PathBuf, calls: u64) -> Result<()> {
    let (seed, calls) = seed_and_calls(calls)?;
    let setup = Setup { hypervisor, ..control_alone(lab, Series::V6_12)? };
    let mut rig = Rig::start(lab, &setup)?;
    let spins = "kernel = \"/guest/spins\"\nmemory = \"16M\"\n";
    rig.create("before", spins)?;
    rig.lith("destroy before")?;
    rig.wait_for_domains(1)?;
    let free = rig.free_kib()?;
    let outcome = rig.control().run(&format!("guest-tests attack {seed} {calls}"))?;
    ensure!(outcome.status == 0, "{}", outcome.output);
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    rig.create("after", spins)?;
    ensure!(rig.state("after")?.as_deref() == Some("running"), "a guest that spins does not run");
    rig.lith("destroy after")?;
    rig.wait_for_domains(1)?;
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    rig.power_off()
}

/// All is refused that is about others: the guest beside the attacker is as it was, and no memory was taken or given.
fn domain_without_rights(lab: &Lab) -> Result<()> {
    let (seed, calls) = seed_and_calls(CALLS)?;
    let mut setup = control_alone(lab, Series::V6_12)?;
    let mut attacker = another(lab, Series::V6_12, ATTACK)?;
    attacker.bootargs.push_str(&format!(" seed={seed} calls={calls}"));
    setup.domains.push(attacker);
    let mut rig = Rig::start(lab, &setup)?;
    rig.write("/victim.toml", "kernel = \"/guest/spins\"\nmemory = \"16M\"\n")?;
    // The attack begins when there is a victim, and what is said of it may come before the answers here.
    rig.control().check("lith pause 1")?;
    rig.lith("create --paused /victim.toml")?;
    let before = (rig.json("info victim")?, rig.free_kib()?);
    rig.control().last("lith unpause 1")?;
    let said = rig.expect("attack: done, with status ")?;
    let status = rig.expect("\n")?;
    ensure!(status.trim() == "0", "{said}{status}");
    let after = (rig.json("info victim")?, rig.free_kib()?);
    ensure!(before == after, "{before:?} became {after:?}");
    rig.lith("destroy victim")?;
    rig.power_off()
}
