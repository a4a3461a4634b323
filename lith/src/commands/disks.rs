//! `lith disk list`.

use anyhow::Result;
use backend::xen::slots::Slot;
use serde::Serialize;
use virtio::config::DiskConfig;

use super::devices::{GuestDevice, slots};
use super::domains::{Domain, all};
use crate::output::{Align, print, print_json, table};
use crate::registry::Registry;
use crate::xen::Xen;
use xenolith_abi::DomId;

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestDisk {
    /// The guest's name.
    pub guest: String,
    /// The guest's domain.
    pub guest_domain: DomId,
    /// The name of the domain that serves it.
    pub backend: String,
    /// The number of the domain that serves it.
    pub backend_domain: DomId,
    /// The image, in that domain.
    pub image: String,
    /// Its format.
    pub format: &'static str,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// The slot's state, in a word.
    pub state: &'static str,
    /// What the backend said last.
    pub message: String,
}

/// All disks, in the order of their slots; devices of other kinds are none.
pub fn all_disks(xen: &dyn Xen, domains: &[Domain]) -> Result<Vec<GuestDisk>> {
    let disk = |slot: &Slot| {
        let config = DiskConfig::from_blob(&slot.device.config).ok();
        let device = GuestDevice::of(slot, domains);
        GuestDisk {
            guest: device.guest,
            guest_domain: device.guest_domain,
            backend: device.backend,
            backend_domain: device.backend_domain,
            format: config.as_ref().map_or("", |config| config.format().name()),
            read_only: config.as_ref().is_some_and(|config| config.read_only),
            image: config.map_or_else(String::new, |config| config.image),
            state: device.state,
            message: device.message,
        }
    };
    Ok(slots(xen)?.iter().filter(|slot| slot.device.device_id == DiskConfig::DEVICE_ID).map(disk).collect())
}

/// `lith disk list`.
pub fn list(xen: &dyn Xen, registry: &Registry, json: bool) -> Result<()> {
    let disks = all_disks(xen, &all(xen, registry)?)?;
    if json {
        return print_json(&disks);
    }
    print(&as_table(&disks))
}

/// Disks as lines.
pub fn as_table(disks: &[GuestDisk]) -> String {
    let head =
        ["GUEST", "BACKEND", "IMAGE", "FORMAT", "ACCESS", "STATE", "MESSAGE"].map(|name| (name, Align::Left));
    let row = |disk: &GuestDisk| {
        let access = if disk.read_only { "read" } else { "read, write" };
        let [guest, backend, image, message] = [&disk.guest, &disk.backend, &disk.image, &disk.message];
        let words = [guest, backend, image, disk.format, access, disk.state, message];
        words.map(str::to_owned).to_vec()
    };
    table(&head, &disks.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::devices::tests::device;
    use crate::xen::Devices;
    use crate::xen::fake::FakeXen;

    #[test]
    fn a_disk_is_shown_with_its_backend_and_how_it_goes() {
        let xen = FakeXen::new();
        let config = br#"{"image":"/a.img","format":"raw","read_only":true}"#;
        xen.create_slot(&device(DiskConfig::DEVICE_ID, config)).unwrap();
        xen.create_slot(&device(DiskConfig::DEVICE_ID + 1, config)).unwrap();
        xen.create_slot(&device(DiskConfig::DEVICE_ID, b"nonsense")).unwrap();
        let text = as_table(&all_disks(&xen, &[]).unwrap());
        assert_eq!(
            text,
            "GUEST  BACKEND  IMAGE   FORMAT  ACCESS       STATE    MESSAGE\n\
             (7)    (0)      /a.img  raw     read         waiting\n\
             (7)    (0)                      read, write  waiting\n"
        );
    }
}
