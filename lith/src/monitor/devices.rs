//! A guest's devices, as far as its monitor watches them: which of them lose their backends.

use anyhow::Result;
use backend::xen::slots::SlotState;
use xenolith_abi::DomId;

use crate::config::Devices;
use crate::xen::Xen;

/// The slots of a guest whose devices were there when they were last looked at.
#[derive(Debug, Default)]
pub struct Watched {
    slots: Vec<u32>,
}

/// A device that has lost its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What it is called.
    pub label: String,
    /// What was said last of its backend.
    pub message: String,
}

impl Watched {
    /// Those of a guest.
    ///
    /// # Errors
    ///
    /// The hypervisor does not tell.
    pub fn of(xen: &dyn Xen, guest: DomId) -> Result<Watched> {
        if !xen.has_slots()? {
            return Ok(Watched::default());
        }
        // All are listed once: later, only a guest's own slots are asked for.
        let own = xen.slots()?.into_iter().filter(|slot| slot.device.guest == guest);
        Ok(Watched { slots: own.map(|slot| slot.number).collect() })
    }

    /// The devices that have lost their backends since this was asked last.
    ///
    /// # Errors
    ///
    /// The hypervisor does not tell.
    pub fn newly_lost(&mut self, xen: &dyn Xen) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for number in self.slots.drain(..) {
            match xen.slot(number)? {
                Some(slot) if slot.state == Some(SlotState::Gone) => lost.push(Lost {
                    label: Devices::label_of(slot.device.device_id, &slot.device.config),
                    message: slot.message,
                }),
                Some(_) => left.push(number),
                // It goes with the guest.
                None => {}
            }
        }
        self.slots = left;
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::device;
    use crate::xen::Devices as _;
    use crate::xen::fake::FakeXen;

    #[test]
    fn a_device_is_lost_once_and_others_stay() {
        let xen = FakeXen::new();
        let config = br#"{"image":"/a.img","format":"raw"}"#;
        for guest in [7, 8, 7] {
            xen.create_slot(&backend::xen::slots::Device { guest: DomId(guest), ..device(2, config) })
                .unwrap();
        }
        let mut watched = Watched::of(&xen, DomId(7)).unwrap();
        assert_eq!(watched.slots, [10, 12]);
        assert_eq!(watched.newly_lost(&xen).unwrap(), []);
        for slot in xen.slots.borrow_mut().iter_mut().take(2) {
            (slot.state, slot.message) = (Some(SlotState::Gone), "killed by signal 9".into());
        }
        let lost = Lost { label: "disk /a.img".into(), message: "killed by signal 9".into() };
        assert_eq!(watched.newly_lost(&xen).unwrap(), [lost]);
        assert_eq!((watched.newly_lost(&xen).unwrap(), watched.slots), (vec![], vec![12]));
        xen.no_slots.set(true);
        assert!(Watched::of(&xen, DomId(7)).unwrap().slots.is_empty());
    }
}
