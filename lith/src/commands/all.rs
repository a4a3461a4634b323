//! `lith shutdown --all` and `lith autostart`: the guests at the machine's end and at its start.
//!
//! A guest may serve another one's devices. So it starts before that one, and is asked to end when that one is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::control::ask;
use super::create;
use super::devices::slots;
use super::domains::all;
use super::end::{Outcome, PERIOD, RELEASE, destroy_by_monitor, outcome, state_of};
use crate::config::{Backend, GuestConfig};
use crate::monitor::Command;
use crate::output::{explain, print, say};
use crate::registry::{Record, Registry};
use crate::xen::{Control, Xen, poll_until};
use xenolith_abi::DomId;

/// How often those who wait are told that this goes on.
const NEWS: Duration = Duration::from_secs(5);

/// A guest on its way to its end.
struct Guest {
    record: Record,
    is_asked: bool,
    /// Why it was destroyed, if it was.
    destroyed: Option<String>,
}

/// `lith shutdown --all`: asks all guests, waits, destroys those that do not go.
///
/// # Errors
///
/// The hypervisor refuses something, or guests had to be destroyed; the error says which, and why each.
pub fn shutdown(xen: &dyn Xen, registry: &Registry, most: Duration) -> Result<()> {
    end_all(xen, registry, most, &|guest| {
        let name = &guest.config.name;
        if registry.is_free(name) {
            create::take_over(name)?;
        }
        ask(registry, name, Command::Retire).map(drop)
    })
}

/// The same; `retire` asks a guest.
fn end_all(
    xen: &dyn Xen,
    registry: &Registry,
    most: Duration,
    retire: &dyn Fn(&Record) -> Result<()>,
) -> Result<()> {
    say_who_ends_with_the_machine(xen, registry)?;
    let mut guests = Vec::new();
    for record in registry.list()? {
        if state_of(xen, record.domain, record.uuid)?.is_some() || !registry.is_free(&record.config.name) {
            guests.push(Guest { record, is_asked: false, destroyed: None });
        }
    }
    let mut destroyed = Vec::new();
    let begun = xen.now();
    let mut news = NEWS;
    poll_until(xen, PERIOD, most, || {
        step(xen, registry, &mut guests, &mut destroyed, retire)?;
        let waited = xen.now().saturating_sub(begun);
        if waited >= news && !guests.is_empty() {
            news = waited.saturating_add(NEWS);
            let left = most.saturating_sub(waited).as_secs();
            print(&format!("Waiting for {}; {left} s are left.\n", names(&guests)))?;
        }
        anyhow::Ok(guests.is_empty().then_some(()))
    })?;
    destroy_rest(xen, registry, guests, &mut destroyed, most)?;
    if destroyed.is_empty() {
        return Ok(());
    }
    bail!("destroyed, as if their power were cut: {}", destroyed.join("; "))
}

/// Those that lith cannot ask.
fn say_who_ends_with_the_machine(xen: &dyn Xen, registry: &Registry) -> Result<()> {
    for domain in all(xen, registry)? {
        if domain.domain != DomId::CONTROL && registry.get(&domain.name).is_none() {
            print(&format!(
                "{} was not made by lith and is not asked: it ends with the machine.\n",
                domain.name
            ))?;
        }
    }
    Ok(())
}

/// Asks those guests that can be asked now, destroys those that cannot hear, and forgets those that are gone.
fn step(
    xen: &dyn Xen,
    registry: &Registry,
    guests: &mut Vec<Guest>,
    destroyed: &mut Vec<String>,
    retire: &dyn Fn(&Record) -> Result<()>,
) -> Result<()> {
    let mut left = Vec::new();
    for guest in guests.drain(..) {
        match (outcome(xen, registry, &guest.record)?, guest.destroyed) {
            (Some(Outcome::Gone), None) => print(&format!("Guest {} is off.\n", guest.record.config.name))?,
            (Some(Outcome::Gone), Some(why)) => destroyed.push(why),
            (_, destroyed) => left.push(Guest { destroyed, ..guest }),
        }
    }
    *guests = left;
    let slots = slots(xen)?;
    let domains: Vec<DomId> = guests.iter().map(|guest| guest.record.domain).collect();
    for guest in guests.iter_mut().filter(|guest| !guest.is_asked) {
        let domain = guest.record.domain;
        let serves = |other: &DomId| {
            *other != domain
                && slots.iter().any(|slot| slot.device.backend == domain && slot.device.guest == *other)
        };
        if domains.iter().any(serves) {
            continue;
        }
        guest.is_asked = true;
        match retire(&guest.record) {
            Ok(()) => print(&format!("Guest {} is asked to turn itself off.\n", guest.record.config.name))?,
            // Nothing would come of waiting for it, and those that serve it would wait, too.
            Err(error) => {
                guest.destroyed = Some(explain(&error));
                destroy(xen, registry, &guest.record)?;
            }
        }
    }
    Ok(())
}

/// Destroys those that are left when the time is up, those last that serve others.
fn destroy_rest(
    xen: &dyn Xen,
    registry: &Registry,
    mut guests: Vec<Guest>,
    destroyed: &mut Vec<String>,
    most: Duration,
) -> Result<()> {
    // One that was not asked waited for others, which are destroyed first.
    guests.sort_by_key(|guest| !guest.is_asked);
    for guest in guests {
        let late = || format!("guest {}: it is not off after {} s", guest.record.config.name, most.as_secs());
        destroyed.push(guest.destroyed.unwrap_or_else(late));
        destroy(xen, registry, &guest.record)?;
        let (domain, uuid) = (guest.record.domain, guest.record.uuid);
        let gone = || anyhow::Ok(state_of(xen, domain, uuid)?.is_none().then_some(()));
        poll_until(xen, PERIOD, RELEASE, gone)?;
    }
    Ok(())
}

/// Destroys a guest. One that cannot be ends with the machine, and the others still can be.
fn destroy(xen: &dyn Xen, registry: &Registry, guest: &Record) -> Result<()> {
    let _ = destroy_by_monitor(registry, &guest.config.name);
    if state_of(xen, guest.domain, guest.uuid)?.is_some_and(|state| state != "dying") {
        let _ = xen.control(guest.domain, Control::Destroy);
    }
    Ok(())
}

fn names(guests: &[Guest]) -> String {
    guests.iter().map(|guest| guest.record.config.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// `lith autostart`.
///
/// # Errors
///
/// The folder cannot be read, or guests do not start; each is said when it happens, and the error says how many.
pub fn start(xen: &dyn Xen, registry: &Registry, folder: &Path) -> Result<()> {
    let mut failed = 0usize;
    let mut fail = |error: &anyhow::Error| {
        say(&format!("lith: {}", explain(error)));
        failed = failed.saturating_add(1);
    };
    let mut marked = Vec::new();
    for file in files(folder)? {
        match GuestConfig::read(&file) {
            Ok(config) => marked.extend(config.autostart.then_some(config)),
            Err(error) => fail(&error.into()),
        }
    }
    for config in in_order(marked) {
        let name = config.name.clone();
        if let Some(record) = registry.get(&name)
            && state_of(xen, record.domain, record.uuid)?.is_some()
        {
            print(&format!("Guest {name} is there already, domain {}.\n", record.domain.0))?;
            continue;
        }
        match create::make(config, false) {
            Ok(domain) => print(&format!("Guest {name} is domain {}, running.\n", domain.0))?,
            Err(error) => fail(&error),
        }
    }
    match failed {
        0 => Ok(()),
        1 => bail!("a guest did not start"),
        many => bail!("{many} guests did not start"),
    }
}

/// The files of a folder that describe guests, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || format!("cannot read the folder {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(read)? {
        let file = entry.with_context(read)?.path();
        files.extend(file.extension().is_some_and(|extension| extension == "toml").then_some(file));
    }
    files.sort();
    Ok(files)
}

/// Guests in the order in which they are given, but each behind those that serve its devices.
fn in_order(mut guests: Vec<GuestConfig>) -> Vec<GuestConfig> {
    let mut ordered = Vec::new();
    while !guests.is_empty() {
        let waits_for_others = |guest: &GuestConfig| {
            guest.devices.iter().any(|device| match device.backend() {
                Backend::Name(name) => {
                    guests.iter().any(|other| other.name == *name && other.name != guest.name)
                }
                Backend::Number(_) => false,
            })
        };
        // In a circle none can be first: the one that is will say what it lacks.
        let next = guests.iter().position(|guest| !waits_for_others(guest)).unwrap_or(0);
        ordered.push(guests.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests;
