//! The guest's life: made, ended, made again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use super::ending::State;
use crate::builder::{Built, Files, build};
use crate::config::{Backend, Device, GuestConfig};
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
            "there is a guest {name} already, domain {}, which nobody looks after; `lith destroy {name}` removes it",
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
    let resolve = |device: &dyn Device| match device.backend() {
        Backend::Number(number) => Ok(*number),
        Backend::Name(name) => {
            registry.domain_called(name).with_context(|| format!("a {}'s backend", device.nouns().0))
        }
    };
    build(xen, config, &files, &resolve, progress)
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
        let record = Record { domain, uuid: Uuid::nil(), monitor: 1, restarts: 0, config };
        registry.write(&record).unwrap();
        let error = check_free(&xen, &registry, "web").unwrap_err().to_string();
        assert!(error.contains("domain 7, which nobody looks after"), "{error}");
        registry.write(&Record { uuid: Uuid::from_bytes([1; 16]), ..record }).unwrap();
        assert!(check_free(&xen, &registry, "web").is_ok());
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
