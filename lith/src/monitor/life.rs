//! The guest's life: made, ended, made again.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::builder::{Built, Files, build};
use crate::config::{Backend, GuestConfig};
use crate::registry::Registry;
use crate::xen::{DomainId, Error, Xen};

/// How long others may take to let go of a guest that was destroyed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is asked.
const PERIOD: Duration = Duration::from_millis(20);

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
    let resolve = |backend: &Backend| match backend {
        Backend::Number(number) => Ok(*number),
        Backend::Name(name) => registry.domain_called(name).context("a disk's backend"),
    };
    build(xen, config, &files, &resolve, progress)
}

/// Destroys a domain and waits until all others have let go of it, its disks' backends first of all: only then are its
/// images free. Returns whether they have.
///
/// # Errors
///
/// The hypervisor refuses to destroy it.
pub fn destroy(xen: &dyn Xen, domain: DomainId) -> Result<bool, Error> {
    match xen.destroy(domain) {
        // Another was faster.
        Err(error) if xen.domain(domain)?.is_some() => return Err(error),
        _ => {}
    }
    let mut waited = Duration::ZERO;
    while xen.domain(domain)?.is_some() {
        if waited >= PATIENCE {
            return Ok(false);
        }
        xen.wait(PERIOD);
        waited = waited.saturating_add(PERIOD);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::Folder;
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
    fn files_that_are_missing_are_named() {
        let folder = Folder::new("life");
        let registry = Registry::open(&folder.0).unwrap();
        let text = "kernel = \"/nowhere/Image\"\nmemory = \"64M\"\n";
        let config = GuestConfig::parse(Path::new("/web.toml"), text).unwrap();
        let error = make(&FakeXen::new(), &registry, &config, &mut |_| ()).unwrap_err();
        assert!(format!("{error:#}").starts_with("kernel /nowhere/Image: No such file"), "{error:#}");
    }
}
