//! The devices of guests, of whichever kind: what their slots say.

use anyhow::Result;
use backend::xen::slots::{Slot, SlotState};
use serde::Serialize;
use xenolith_abi::DomId;

use super::domains::Domain;
use crate::config::Devices;
use crate::output::{Align, table};
use crate::xen::Xen;

/// A device of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestDevice {
    /// The guest's name.
    pub guest: String,
    /// The guest's domain.
    pub guest_domain: DomId,
    /// The name of the domain that serves it.
    pub backend: String,
    /// The number of the domain that serves it.
    pub backend_domain: DomId,
    /// Its kind, by the name of the registry.
    pub kind: String,
    /// Its kind, and what tells it apart.
    pub label: String,
    /// Virtio's number for its kind.
    pub device_id: u32,
    /// The slot's state, in a word.
    pub state: &'static str,
    /// What the backend said last.
    pub message: String,
}

impl GuestDevice {
    /// The device of a slot.
    pub fn of(slot: &Slot, domains: &[Domain]) -> GuestDevice {
        let name = |number: DomId| {
            let domain = domains.iter().find(|domain| domain.domain == number);
            domain.map_or_else(|| format!("({})", number.0), |domain| domain.name.clone())
        };
        let device = &slot.device;
        // Whoever makes slots need not be this lith.
        let unknown = || format!("virtio device {}", device.device_id);
        GuestDevice {
            guest: name(device.guest),
            guest_domain: device.guest,
            backend: name(device.backend),
            backend_domain: device.backend,
            kind: Devices::kind_name(device.device_id).map_or_else(unknown, str::to_owned),
            label: Devices::label_of(device.device_id, &device.config),
            device_id: device.device_id,
            state: state(slot.state),
            message: slot.message.clone(),
        }
    }
}

/// All devices of all kinds, in the order of their slots.
pub fn all_devices(xen: &dyn Xen, domains: &[Domain]) -> Result<Vec<GuestDevice>> {
    Ok(slots(xen)?.iter().map(|slot| GuestDevice::of(slot, domains)).collect())
}

/// All device slots; none where there are no such calls.
pub fn slots(xen: &dyn Xen) -> Result<Vec<Slot>> {
    Ok(if xen.has_slots()? { xen.slots()? } else { Vec::new() })
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

/// Devices as lines.
pub fn as_table(devices: &[GuestDevice]) -> String {
    let head = ["GUEST", "BACKEND", "KIND", "STATE", "MESSAGE"].map(|name| (name, Align::Left));
    let row = |device: &GuestDevice| {
        let [guest, backend, kind] = [&device.guest, &device.backend, &device.kind];
        [guest, backend, kind, device.state, &device.message].map(str::to_owned).to_vec()
    };
    table(&head, &devices.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::xen::Devices as _;
    use crate::xen::fake::FakeXen;
    use backend::Bank;
    use backend::xen::slots::{Device, Interrupt, Transport};
    use virtio::config::DiskConfig;
    use xenolith_abi::Intid;

    /// A device of domain 7 in the control domain.
    pub fn device(device_id: u32, config: &[u8]) -> Device {
        Device {
            guest: DomId(7),
            backend: DomId::CONTROL,
            transport: Transport::VirtioMmio.number(),
            device_id,
            interrupt: Interrupt::Line { intid: Intid(33) }.into(),
            registers: Bank { base: 0x200_0000, size: 0x200 },
            ram: vec![],
            config: config.to_vec(),
        }
    }

    #[test]
    fn a_device_is_shown_by_the_name_of_its_kind() {
        let xen = FakeXen::new();
        xen.create_slot(&device(DiskConfig::DEVICE_ID, b"{}")).unwrap();
        xen.create_slot(&device(99, b"{}")).unwrap();
        assert_eq!(
            as_table(&all_devices(&xen, &[]).unwrap()),
            "GUEST  BACKEND  KIND              STATE    MESSAGE\n\
             (7)    (0)      disk              waiting\n\
             (7)    (0)      virtio device 99  waiting\n"
        );
    }
}
