//! Device slots: devices of guests that other domains serve.

use backend::xen::slots::{Device, FEATURE_SLOTS, Slot};

use super::{RealXen, Result};

/// The calls about device slots.
pub trait Devices {
    /// Whether guests can have devices that other domains serve.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn has_slots(&self) -> Result<bool>;

    /// Makes a device slot; returns its number.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn create_slot(&self, device: &Device) -> Result<u32>;

    /// All device slots.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn slots(&self) -> Result<Vec<Slot>>;

    /// A device slot; `None` if there is none with this number.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn slot(&self, number: u32) -> Result<Option<Slot>>;
}

impl Devices for RealXen {
    fn has_slots(&self) -> Result<bool> {
        Ok(self.slots.features()? & FEATURE_SLOTS != 0)
    }

    fn create_slot(&self, device: &Device) -> Result<u32> {
        self.slots.create(device)
    }

    fn slots(&self) -> Result<Vec<Slot>> {
        self.slots.list()
    }

    fn slot(&self, number: u32) -> Result<Option<Slot>> {
        self.slots.get(number)
    }
}
