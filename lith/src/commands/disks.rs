//! `lith disk list`.

use anyhow::Result;
use backend::xen::slots::{Slot, SlotState};
use serde::Serialize;
use virtio::config::DiskConfig;

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

/// All disks, in the order of their slots.
pub fn all_disks(xen: &dyn Xen, domains: &[Domain]) -> Result<Vec<GuestDisk>> {
    let name = |number: DomId| {
        let domain = domains.iter().find(|domain| domain.domain == number);
        domain.map_or_else(|| format!("({})", number.0), |domain| domain.name.clone())
    };
    let disk = |slot: &Slot| {
        let config = DiskConfig::from_blob(&slot.device.config).ok();
        let (guest, backend) = (slot.device.guest, slot.device.backend);
        GuestDisk {
            guest: name(guest),
            guest_domain: guest,
            backend: name(backend),
            backend_domain: backend,
            format: config.as_ref().map_or("", |config| config.format.name()),
            read_only: config.as_ref().is_some_and(|config| config.read_only),
            image: config.map_or_else(String::new, |config| config.image),
            state: state(slot.state),
            message: slot.message.clone(),
        }
    };
    Ok(xen.slots()?.iter().filter(|slot| slot.device.device_id == DiskConfig::DEVICE_ID).map(disk).collect())
}

fn state(state: Option<SlotState>) -> &'static str {
    match state {
        Some(SlotState::Waiting) => "waiting",
        Some(SlotState::Ready) => "ready",
        Some(SlotState::Failed) => "failed",
        Some(SlotState::Gone) => "gone",
        None => "unknown",
    }
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
    use crate::xen::Devices;
    use crate::xen::fake::FakeXen;
    use backend::Bank;
    use backend::xen::slots::{Device, Interrupt, Transport};
    use xenolith_abi::Intid;

    #[test]
    fn a_disk_is_shown_with_its_backend_and_how_it_goes() {
        let xen = FakeXen::new();
        let device = Device {
            guest: DomId(7),
            backend: DomId(0),
            transport: Transport::VirtioMmio.number(),
            device_id: DiskConfig::DEVICE_ID,
            interrupt: Interrupt::Line { intid: Intid(33) }.into(),
            registers: Bank { base: 0x200_0000, size: 0x200 },
            ram: vec![],
            config: br#"{"image":"/a.img","format":"raw","read_only":true}"#.to_vec(),
        };
        xen.create_slot(&device).unwrap();
        xen.create_slot(&Device { config: b"nonsense".to_vec(), ..device }).unwrap();
        let text = as_table(&all_disks(&xen, &[]).unwrap());
        assert_eq!(
            text,
            "GUEST  BACKEND  IMAGE   FORMAT  ACCESS       STATE    MESSAGE\n\
             (7)    (0)      /a.img  raw     read         waiting\n\
             (7)    (0)                      read, write  waiting\n"
        );
    }
}
