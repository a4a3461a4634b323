//! A guest in another domain, for its devices.

use std::sync::Arc;

use crate::xen::GuestRam;
use crate::xen::dm::DeviceModel;
use crate::{Bank, Error, Guest, Memory};

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

    /// The guest's calls.
    pub fn model(&self) -> &DeviceModel {
        &self.model
    }
}

impl Guest for Domain {
    fn memory(&self) -> Arc<Memory> {
        self.ram.memory()
    }

    fn look_again(&self) -> bool {
        self.ram.look_again()
    }

    fn refresh(&self) {
        self.ram.refresh();
    }

    fn set_irq(&self, irq: u32, level: bool) -> Result<(), Error> {
        self.model.set_irq(irq, level)
    }
}
