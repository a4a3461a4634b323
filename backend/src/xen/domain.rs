//! A guest in another domain, for its devices.

use std::sync::Arc;
use xenolith_abi::Intid;

use crate::xen::{DeviceModel, GuestRam};
use crate::{Bank, Error, GuestMemory, Interrupt, Ram};
use virtio::core::memory::Part;
use virtio::core::ram::StalePages;

/// A guest that is another domain under the hypervisor.
pub struct Domain {
    ram: GuestRam,
    model: DeviceModel,
}

impl Domain {
    /// Takes up the guest's memory.
    ///
    /// # Errors
    /// As [`GuestRam::map`].
    pub fn attach(model: DeviceModel, ram: &[Bank]) -> Result<Domain, Error> {
        let ram = GuestRam::map(Arc::clone(model.privcmd()) as _, model.domain(), ram)?;
        Ok(Domain { ram, model })
    }

    /// The guest's RAM: to refresh it when pages left the guest.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The device model's calls for the guest.
    pub fn model(&self) -> &DeviceModel {
        &self.model
    }
}

impl GuestMemory for Domain {
    fn memory(&self) -> Arc<Ram> {
        self.ram.memory()
    }

    fn rescan(&self, missing: Part) -> bool {
        self.ram.rescan(missing)
    }

    fn refresh(&self, stale: &StalePages) {
        self.ram.refresh(stale);
    }
}

/// A shared line of a guest's interrupt controller, which was described to the guest as edge-triggered.
#[derive(Clone, Debug)]
pub struct Line {
    model: DeviceModel,
    intid: Intid,
}

impl Line {
    /// The line with this number, 32 or above.
    pub fn new(model: DeviceModel, intid: Intid) -> Line {
        Line { model, intid }
    }

    /// Sets the level of a line that was described as level-sensitive.
    ///
    /// # Errors
    /// The hypervisor refuses: no such line, no permission, or the guest is gone.
    pub fn set_level(&self, level: bool) -> Result<(), Error> {
        self.model.set_irq(self.intid, level)
    }
}

impl Interrupt for Line {
    fn trigger(&self) {
        // Each call with a high level is one edge. A guest that is gone has no use for it.
        let _ = self.set_level(true);
    }
}
