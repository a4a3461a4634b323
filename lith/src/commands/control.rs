//! `lith pause`, `unpause`, `shutdown`, `reboot` and `destroy`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::domains::{find, find_monitored};
use crate::monitor::{Answer, Command, line};
use crate::output::explain;
use crate::registry::Registry;
use crate::xen::{Control, Xen};
use xenolith_abi::DomId;

/// How often someone who waits for a guest's end looks.
const PERIOD: Duration = Duration::from_millis(100);

/// Connects to a guest's monitor.
///
/// # Errors
///
/// It is not there.
pub fn connect(registry: &Registry, name: &str) -> Result<UnixStream> {
    let stream = UnixStream::connect(registry.socket(name));
    stream.with_context(|| {
        let log = registry.log(name);
        format!(
            "guest {name}: nobody looks after it any more (see {}); `lith destroy {name}` removes it",
            log.display()
        )
    })
}

/// Gives a command to a guest's monitor; returns the connection behind the answer.
///
/// # Errors
///
/// The monitor is not there, or refuses.
pub fn ask(registry: &Registry, name: &str, command: Command) -> Result<BufReader<UnixStream>> {
    let mut stream = connect(registry, name)?;
    let lost = || format!("guest {name}: its monitor does not answer");
    stream.write_all(&line(&command)).with_context(lost)?;
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    stream.read_line(&mut answer).with_context(lost)?;
    match serde_json::from_str(&answer).with_context(lost)? {
        Answer::Done => Ok(stream),
        Answer::Refused(why) => bail!("guest {name}: {why}"),
    }
}

/// `lith pause`.
pub fn pause(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    let domain = find(xen, registry, who)?;
    if domain.domain == DomId::CONTROL {
        bail!("the control domain cannot pause itself");
    }
    if domain.state == "paused" {
        bail!("guest {} is paused already: `lith unpause {}` lets it go on", domain.name, domain.name);
    }
    Ok(xen.control(domain.domain, Control::Pause)?)
}

/// `lith unpause`.
pub fn unpause(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    let domain = find(xen, registry, who)?;
    if domain.state != "paused" {
        bail!("guest {} is not paused: it is {}", domain.name, domain.state);
    }
    Ok(xen.control(domain.domain, Control::Unpause)?)
}

/// `lith shutdown`; with `xen`, waits until the guest is off.
pub fn shutdown(registry: &Registry, who: &str, xen: Option<&dyn Xen>) -> Result<()> {
    let name = find_monitored(registry, who)?;
    let domain = registry.domain_called(&name)?;
    end(registry, &name, Command::Shutdown)?;
    let Some(xen) = xen else { return Ok(()) };
    while xen.domain(domain)?.is_some_and(|info| super::domains::state(info.flags) != "off") {
        xen.wait(PERIOD);
    }
    Ok(())
}

/// `lith reboot`.
pub fn reboot(registry: &Registry, who: &str) -> Result<()> {
    let name = find_monitored(registry, who)?;
    end(registry, &name, Command::Reboot)
}

fn end(registry: &Registry, name: &str, command: Command) -> Result<()> {
    let Err(error) = ask(registry, name, command) else { return Ok(()) };
    let (why, way_out) = (explain(&error), format!("`lith destroy {name}`"));
    if why.contains(&way_out) {
        bail!(why);
    }
    bail!("{why}; {way_out} ends it without asking it")
}

/// `lith destroy`.
pub fn destroy(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    let domain = match find(xen, registry, who) {
        Ok(domain) => domain,
        // Between two lives a guest has a monitor and no domain.
        Err(error) => {
            let name = find_monitored(registry, who).map_err(|_| error)?;
            return destroy_by_monitor(registry, &name).map(drop);
        }
    };
    if domain.domain == DomId::CONTROL {
        bail!("this is the control domain; turn it off with `poweroff`");
    }
    // With its monitor gone, or for a domain that never had one, the hypervisor does it alone.
    if destroy_by_monitor(registry, &domain.name)? {
        return Ok(());
    }
    Ok(xen.control(domain.domain, Control::Destroy)?)
}

/// Lets a guest's monitor end it, and returns true; without a monitor only its record is removed.
fn destroy_by_monitor(registry: &Registry, name: &str) -> Result<bool> {
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
mod tests {
    use super::*;
    use crate::registry::tests::Folder;
    use crate::xen::Domains;
    use crate::xen::fake::FakeXen;
    use std::path::Path;

    fn world(name: &str) -> (FakeXen, Registry, Folder) {
        let folder = Folder::new(name);
        let registry = Registry::open(Path::new(&folder.0)).unwrap();
        let xen = FakeXen::new();
        xen.create(&Default::default()).unwrap();
        (xen, registry, folder)
    }

    #[test]
    fn a_guest_is_paused_once_and_destroyed() {
        let (xen, registry, _folder) = world("control");
        assert!(pause(&xen, &registry, "7").unwrap_err().to_string().contains("is paused already"));
        unpause(&xen, &registry, "7").unwrap();
        destroy(&xen, &registry, "7").unwrap();
        assert_eq!(xen.calls.borrow()[1..], ["unpause 7", "destroy 7"]);
        assert!(destroy(&xen, &registry, "7").is_err());
    }

    #[test]
    fn a_guest_without_a_monitor_is_said_to_have_none() {
        let (_, registry, _folder) = world("alone");
        let error = connect(&registry, "web").unwrap_err().to_string();
        assert!(
            error.contains("nobody looks after it any more") && error.contains("lith destroy web"),
            "{error}"
        );
    }

    #[test]
    fn the_way_out_is_told_once() {
        let (_, registry, _folder) = world("once");
        let error = end(&registry, "web", Command::Shutdown).unwrap_err().to_string();
        assert_eq!(error.matches("`lith destroy web`").count(), 1, "{error}");
    }

    #[test]
    fn the_record_of_a_guest_that_is_gone_can_be_removed() {
        let (xen, registry, _folder) = world("gone");
        let text = "name = \"web\"\nkernel = \"/k\"\nmemory = \"64M\"\n";
        let config = crate::config::GuestConfig::parse(Path::new("/x.toml"), text).unwrap();
        let record = crate::registry::Record {
            domain: xenolith_abi::DomId(99),
            uuid: uuid::Uuid::nil(),
            monitor: 1,
            restarts: 0,
            config,
        };
        registry.write(&record).unwrap();
        destroy(&xen, &registry, "web").unwrap();
        assert!(registry.get("web").is_none());
        assert!(destroy(&xen, &registry, "web").unwrap_err().to_string().contains("no guest is called web"));
    }
}
