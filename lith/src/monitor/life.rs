//! The guest's life: made, ended, made again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use super::ending::State;
use crate::builder::{Built, Files, build};
use crate::config::{Backend, Device, GuestConfig};
use crate::output::say;
use crate::registry::Registry;
use crate::xen::{Control, Error, Xen, poll_until};
use xenolith_abi::DomId;

/// How long others may take to let go of a guest that was destroyed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hypervisor is asked for that.
const PERIOD: Duration = Duration::from_millis(20);

/// Whether no guest has a name, not even one whose monitor was killed.
///
/// # Errors
///
/// One has it.
pub fn check_free(xen: &dyn Xen, registry: &Registry, name: &str) -> Result<()> {
    let Some(record) = registry.get(name) else { return Ok(()) };
    let Some(info) = xen.domain(record.domain)? else { return Ok(()) };
    // The hypervisor gives a domain's number away again, to a domain with another handle.
    if Uuid::from_bytes(info.handle) == record.uuid && State::of(Some(&info)) != State::Gone {
        bail!(
            "there is a guest {name} already, domain {}, which nobody looks after; `lith attach {name}` does \
             that again, `lith destroy {name}` removes it",
            record.domain.0
        );
    }
    Ok(())
}

/// Makes the guest from its files as they are now.
///
/// # Errors
///
/// As [`build`].
pub fn make(
    xen: &dyn Xen,
    registry: &Registry,
    config: &GuestConfig,
    progress: &mut dyn FnMut(&str),
) -> Result<Built> {
    progress("reading kernel and ramdisk");
    let files = Files::read(config)?;
    if let Some(entry) = &files.entry {
        progress(&format!("booting {entry}"));
        say(&format!("{}: boots {entry}", config.name));
    }
    let resolve = |device: &dyn Device| find_backend(xen, registry, device);
    build(xen, config, &files, &resolve, progress)
}

/// The domain that serves a device, which must be there.
fn find_backend(xen: &dyn Xen, registry: &Registry, device: &dyn Device) -> Result<DomId> {
    let label = device.label();
    let (domain, name) = match device.backend() {
        Backend::Number(number) => (*number, format!("domain {}", number.0)),
        Backend::Name(name) => {
            let domain = registry.domain_called(name).with_context(|| format!("{label}: its backend"))?;
            (domain, format!("guest {name} (domain {})", domain.0))
        }
    };
    if domain != DomId::CONTROL && State::of(xen.domain(domain)?.as_ref()) == State::Gone {
        let there: Vec<String> = xen.domains()?.iter().map(|info| info.domain.0.to_string()).collect();
        bail!(
            "{label}: its backend, {name}, is not there; there are the domains {}: see `lith list`",
            there.join(", ")
        );
    }
    Ok(domain)
}

/// Destroys a domain and waits until all others have let go of it, its devices' backends first of all: only then are its
/// images free. Returns whether they have.
///
/// # Errors
///
/// The hypervisor refuses to destroy it.
pub fn destroy(xen: &dyn Xen, domain: DomId) -> Result<bool, Error> {
    match xen.control(domain, Control::Destroy) {
        // Another was faster.
        Err(error) if xen.domain(domain)?.is_some() => return Err(error),
        _ => {}
    }
    let gone = poll_until(xen, PERIOD, TIMEOUT, || Ok(xen.domain(domain)?.is_none().then_some(())))?;
    Ok(gone.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Record;
    use crate::registry::tests::Folder;
    use crate::xen::Domains;
    use crate::xen::fake::FakeXen;
    use std::path::Path;
    use xenolith_abi::domctl::info_flag;

    #[test]
    fn a_domain_is_destroyed_once() {
        let xen = FakeXen::new();
        let (domain, _) = xen.create(&Default::default()).unwrap();
        assert!(destroy(&xen, domain).unwrap());
        assert!(xen.domains.borrow().is_empty());
        xen.fails_at.set(Some(xen.calls.borrow().len()));
        assert!(destroy(&xen, domain).unwrap());
    }

    #[test]
    fn a_name_stays_taken_while_its_domain_lives() {
        let folder = Folder::new("taken");
        let (xen, registry) = (FakeXen::new(), Registry::open(&folder.0).unwrap());
        assert!(check_free(&xen, &registry, "web").is_ok());
        let (domain, _) = xen.create(&Default::default()).unwrap();
        let text = "kernel = \"/k\"\nmemory = \"64M\"\n";
        let config = GuestConfig::parse(Path::new("/web.toml"), text).unwrap();
        let record = Record { domain, uuid: Uuid::nil(), ports: [2, 1], monitor: 1, restarts: 0, config };
        registry.write(&record).unwrap();
        let error = check_free(&xen, &registry, "web").unwrap_err().to_string();
        assert!(error.contains("domain 7, which nobody looks after"), "{error}");
        registry.write(&Record { uuid: Uuid::from_bytes([1; 16]), ..record }).unwrap();
        assert!(check_free(&xen, &registry, "web").is_ok());
    }

    #[test]
    fn a_backend_that_is_not_there_is_said_before_anything_is_made() {
        let folder = Folder::new("backends");
        let (xen, registry) = (FakeXen::new(), Registry::open(&folder.0).unwrap());
        let (there, _) = xen.create(&Default::default()).unwrap();
        let find = |backend: &str| {
            let disk = format!("[[disk]]\nimage = \"/a\"\nbackend = {backend}\n");
            let text = format!("kernel = \"/k\"\nmemory = \"64M\"\n{disk}");
            let config = GuestConfig::parse(Path::new("/web.toml"), &text).unwrap();
            let found = find_backend(&xen, &registry, config.devices.iter().next().unwrap());
            found.map_err(|error| format!("{error:#}"))
        };
        assert_eq!((find("0"), find("7")), (Ok(DomId::CONTROL), Ok(there)));
        let words = "disk /a: its backend, domain 9, is not there; there are the domains 7: see `lith list`";
        assert_eq!(find("9"), Err(words.into()));
        assert!(find("\"store\"").unwrap_err().starts_with("disk /a: its backend: no guest is called store"));
        xen.domains.borrow_mut().get_mut(&there).unwrap().flags |= info_flag::DYING;
        assert!(find("7").unwrap_err().contains("is not there"), "it is on its way out");
    }

    #[test]
    fn files_that_are_missing_are_named() {
        let folder = Folder::new("life");
        let registry = Registry::open(&folder.0).unwrap();
        let text = "kernel = \"/nowhere/Image\"\nmemory = \"64M\"\n";
        let config = GuestConfig::parse(Path::new("/web.toml"), text).unwrap();
        let error = make(&FakeXen::new(), &registry, &config, &mut |_| ()).unwrap_err();
        assert!(format!("{error:#}").starts_with("kernel /nowhere/Image: No such file"), "{error:#}");
    }
}
