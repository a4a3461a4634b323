//! `lith shutdown`, `reboot`, `reset` and `destroy`.
//!
//! Each comes back when what it says is true, or fails with the reason and what to do next.

use std::time::Duration;

use anyhow::{Result, bail};
use uuid::Uuid;
use xenolith_abi::DomId;

use super::control::{ask, connect};
use super::devices::{GuestDevice, all_devices};
use super::domains::{all, find, find_monitored, state};
use crate::monitor::Command;
use crate::output::{explain, print, say, tell};
use crate::registry::{Record, Registry};
use crate::xen::{Control, Xen, poll_until};

/// How often someone who waits for a guest's end looks.
pub(super) const PERIOD: Duration = Duration::from_millis(50);
/// How long others may take to let go of a guest that was destroyed.
pub(super) const RELEASE: Duration = Duration::from_secs(10);

/// What has become of a guest that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is left of it, and its name is free.
    Gone,
    /// It has ended and is kept, as its file says.
    Preserved,
    /// It has started again, as its file says.
    Restarted,
}

/// `lith shutdown`; with a time to wait, waits until the guest is gone.
pub fn shutdown(xen: &dyn Xen, registry: &Registry, who: &str, wait: Option<Duration>) -> Result<()> {
    let guest = find_monitored(xen, registry, who)?;
    let name = &guest.config.name;
    request(registry, name, Command::Shutdown)?;
    let Some(most) = wait else {
        return print(&format!("Guest {name} has taken the request, and turns itself off.\n"));
    };
    match await_end(xen, registry, &guest, most)? {
        Outcome::Gone => print(&format!("Guest {name} is off.\n")),
        Outcome::Preserved => print(&format!(
            "Guest {name} is off and preserved, as its file says; `lith destroy {name}` removes it.\n"
        )),
        Outcome::Restarted => {
            print(&format!("Guest {name} was off and has been started again, as its file says.\n"))
        }
    }
}

/// `lith reboot`, which waits until the guest has started again.
pub fn reboot(xen: &dyn Xen, registry: &Registry, who: &str, most: Duration) -> Result<()> {
    let guest = find_monitored(xen, registry, who)?;
    let name = &guest.config.name;
    request(registry, name, Command::Reboot)?;
    match await_end(xen, registry, &guest, most)? {
        Outcome::Restarted => print(&format!("Guest {name} has started again.\n")),
        Outcome::Preserved => bail!(
            "guest {name} has ended and is preserved, and not started again: `lith reset {name}` starts it, \
             `lith destroy {name}` removes it"
        ),
        Outcome::Gone => bail!(
            "guest {name} has ended and was not started again: its `on_reboot` says so, or its log {} says why",
            registry.log(name).display()
        ),
    }
}

/// `lith reset`.
pub fn reset(xen: &dyn Xen, registry: &Registry, who: &str, force: bool) -> Result<()> {
    let guest = find_monitored(xen, registry, who)?;
    let name = &guest.config.name;
    check_served(xen, registry, name, guest.domain, force, "reset")?;
    ask(registry, name, Command::Reset)?;
    print(&format!("Guest {name} has started again.\n"))
}

/// Asks a guest to end, and comes back when its kernel has taken that.
fn request(registry: &Registry, name: &str, command: Command) -> Result<()> {
    let Err(error) = ask(registry, name, command) else { return Ok(()) };
    let why = explain(&error);
    if why.contains("`lith ") {
        bail!(why);
    }
    bail!("{why}; {}", way_out(name, command))
}

/// What to do about a guest that does not do what it is asked.
fn way_out(name: &str, command: Command) -> String {
    match command {
        Command::Reboot => {
            format!("`lith reset {name}` starts it again without asking it, `lith destroy {name}` ends it")
        }
        _ => format!("`lith destroy {name}` ends it without asking it"),
    }
}

/// Waits until a guest that has taken a request has ended, and what follows is done.
fn await_end(xen: &dyn Xen, registry: &Registry, guest: &Record, most: Duration) -> Result<Outcome> {
    let name = &guest.config.name;
    tell(&format!("waiting for guest {name} to end, {} s at most", most.as_secs()));
    if let Some(outcome) = poll_until(xen, PERIOD, most, || outcome(xen, registry, guest))? {
        return Ok(outcome);
    }
    let seconds = most.as_secs();
    let Some(now) = state_of(xen, guest.domain, guest.uuid)? else {
        bail!(
            "guest {name} has ended, and its monitor has not finished after {seconds} s: see {}",
            registry.log(name).display()
        );
    };
    if now == "dying" {
        bail!(
            "guest {name} is off, and after {seconds} s others still use pages of its domain {}: its backends, \
             `lith disk list` names them",
            guest.domain.0
        );
    }
    let domains = all(xen, registry)?;
    let notes =
        domains.iter().find(|domain| domain.domain == guest.domain).map_or(&[][..], |found| &found.notes);
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    bail!(
        "guest {name} has taken the request, and is {now} still after {seconds} s{notes}; it may end later. `lith reset \
         {name}` starts it again at once, `lith destroy {name}` ends it"
    )
}

/// A domain's state in a word, if the domain of this number is still the one that is meant.
pub(super) fn state_of(xen: &dyn Xen, domain: DomId, uuid: Uuid) -> Result<Option<&'static str>> {
    let info = xen.domain(domain)?.filter(|info| Uuid::from_bytes(info.handle) == uuid);
    Ok(info.map(|info| state(info.flags)))
}

/// What has become of a guest; `None` while its end is under way.
pub(super) fn outcome(xen: &dyn Xen, registry: &Registry, guest: &Record) -> Result<Option<Outcome>> {
    use crate::config::Action;
    let name = &guest.config.name;
    match state_of(xen, guest.domain, guest.uuid)? {
        Some("off") if guest.config.on_poweroff == Action::Preserve => Ok(Some(Outcome::Preserved)),
        Some("rebooting") if guest.config.on_reboot == Action::Preserve => Ok(Some(Outcome::Preserved)),
        Some(_) => Ok(None),
        None => Ok(match registry.get(name) {
            Some(record) if record.uuid != guest.uuid => Some(Outcome::Restarted),
            // Its monitor makes it anew.
            Some(_) if !registry.is_free(name) => None,
            _ => registry.is_free(name).then_some(Outcome::Gone),
        }),
    }
}

/// `lith destroy`.
pub fn destroy(xen: &dyn Xen, registry: &Registry, who: &str, force: bool) -> Result<()> {
    let (name, domain, uuid) = match find(xen, registry, who) {
        Ok(domain) => (domain.name, domain.domain, domain.uuid),
        // Between two lives a guest has a monitor and no domain.
        Err(error) => {
            let Ok(guest) = find_monitored(xen, registry, who) else { return Err(error) };
            (guest.config.name, guest.domain, guest.uuid)
        }
    };
    if domain == DomId::CONTROL {
        bail!("this is the control domain; turn it off with `poweroff`");
    }
    check_served(xen, registry, &name, domain, force, "destroy")?;
    if registry.get(&name).is_none() && !force {
        bail!(
            "{name} was not made by lith, which cannot make it again: `lith destroy --force {name}` ends it all the same"
        );
    }
    // With its monitor gone, or for a domain that never had one, the hypervisor does it alone.
    if !destroy_by_monitor(registry, &name)? && state_of(xen, domain, uuid)?.is_some() {
        xen.control(domain, Control::Destroy)?;
    }
    let gone = || -> Result<Option<()>> {
        Ok((state_of(xen, domain, uuid)?.is_none() && registry.is_free(&name)).then_some(()))
    };
    if poll_until(xen, PERIOD, RELEASE, gone)?.is_none() {
        let (seconds, number) = (RELEASE.as_secs(), domain.0);
        say(&format!(
            "{name} is destroyed, and after {seconds} s others still use pages of its domain {number}"
        ));
    }
    Ok(())
}

/// Names the guests that lose devices when a domain ends at once, and refuses that unless it is forced.
fn check_served(
    xen: &dyn Xen,
    registry: &Registry,
    name: &str,
    domain: DomId,
    force: bool,
    command: &str,
) -> Result<()> {
    let devices = all_devices(xen, &all(xen, registry)?)?;
    let is_lost = |device: &&GuestDevice| {
        device.backend_domain == domain && device.guest_domain != domain && device.state != "gone"
    };
    let lost: Vec<String> = devices
        .iter()
        .filter(is_lost)
        .map(|device| format!("guest {} loses its {}", device.guest, device.label))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let lost = lost.join(", ");
    if force {
        return print(&format!("With {name}, {lost}.\n"));
    }
    bail!("{name} serves others: with it, {lost}; shut them down first, or `lith {command} --force {name}`")
}

/// Lets a guest's monitor end it, and returns true; without a monitor only its record is removed.
pub(super) fn destroy_by_monitor(registry: &Registry, name: &str) -> Result<bool> {
    if registry.get(name).is_none() {
        return Ok(false);
    }
    if connect(registry, name).is_ok() {
        return ask(registry, name, Command::Destroy).map(|_| true);
    }
    registry.remove(name);
    Ok(false)
}

#[cfg(test)]
pub(super) mod tests;
