//! Commands to a guest's monitor, and `lith pause`, `unpause` and `resume`, which need none.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

use super::domains::find;
use crate::monitor::{Answer, Command, line};
use crate::registry::Registry;
use crate::xen::{Control, Xen};
use xenolith_abi::DomId;

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
            "guest {name}: nobody looks after it any more (see {}); `lith attach {name}` does that again, `lith destroy {name}` \
             removes it",
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
    if domain.state == "suspended" {
        bail!("guest {} is not paused: it is suspended: `lith resume {}` wakes it", domain.name, domain.name);
    }
    if domain.state != "paused" {
        bail!("guest {} is not paused: it is {}", domain.name, domain.state);
    }
    Ok(xen.control(domain.domain, Control::Unpause)?)
}

/// `lith resume`.
pub fn resume(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    let domain = find(xen, registry, who)?;
    match domain.state {
        "suspended" => Ok(xen.control(domain.domain, Control::Resume)?),
        "paused" => bail!(
            "guest {} is not suspended but paused: `lith unpause {}` lets it go on",
            domain.name,
            domain.name
        ),
        state => bail!("guest {} is not suspended: it is {state}", domain.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::Folder;
    use crate::xen::Domains;
    use crate::xen::fake::FakeXen;
    use std::path::Path;
    use xenolith_abi::domctl::info_flag;

    fn world(name: &str) -> (FakeXen, Registry, Folder) {
        let folder = Folder::new(name);
        let registry = Registry::open(Path::new(&folder.0)).unwrap();
        let xen = FakeXen::new();
        xen.create(&Default::default()).unwrap();
        (xen, registry, folder)
    }

    #[test]
    fn a_guest_is_paused_once() {
        let (xen, registry, _folder) = world("control");
        assert!(pause(&xen, &registry, "7").unwrap_err().to_string().contains("is paused already"));
        unpause(&xen, &registry, "7").unwrap();
        assert_eq!(xen.calls.borrow()[1..], ["unpause 7"]);
    }

    #[test]
    fn a_guest_is_resumed_that_has_suspended_itself() {
        let (xen, registry, _folder) = world("resume");
        let flags = |flags| xen.domains.borrow_mut().get_mut(&DomId(7)).unwrap().flags = flags;
        let refused = || resume(&xen, &registry, "7").unwrap_err().to_string();
        assert!(refused().contains("`lith unpause domain-7`"), "{}", refused());
        flags(info_flag::BLOCKED);
        assert_eq!(refused(), "guest domain-7 is not suspended: it is idle");
        flags(info_flag::SHUTDOWN | 2 << 16);
        let error = unpause(&xen, &registry, "7").unwrap_err().to_string();
        assert_eq!(error, "guest domain-7 is not paused: it is suspended: `lith resume domain-7` wakes it");
        resume(&xen, &registry, "7").unwrap();
        assert_eq!(xen.calls.borrow()[1..], ["resume 7"]);
    }

    #[test]
    fn a_guest_without_a_monitor_is_said_to_have_none() {
        let (_, registry, _folder) = world("alone");
        let error = connect(&registry, "web").unwrap_err().to_string();
        assert!(
            error.contains("nobody looks after it any more") && error.contains("`lith attach web`"),
            "{error}"
        );
    }
}
