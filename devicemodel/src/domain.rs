//! A guest in another domain, for its devices.

use std::sync::Arc;

use rustix::io::Errno;
use xenolith_abi::xenolith::{FEATURE_FRAME_GRANTS, frame_grant};

use crate::dm::DeviceModel;
use crate::ram::Foreign;
use crate::slots::Slots;
use crate::xen::privcmd::Batch;
use crate::xen::{Gntdev, Privcmd, Window};
use crate::{Bank, Error, Guest, GuestRam, Memory};

/// A guest that is another domain under the hypervisor.
pub struct Domain {
    ram: GuestRam,
    model: DeviceModel,
}

/// The files through which a guest's pages are mapped.
struct Files {
    privcmd: Arc<Privcmd>,
    /// Where the hypervisor has grants of frames.
    gntdev: Option<Gntdev>,
}

impl Foreign for Files {
    fn map(&self, domain: u16, frames: &[u64]) -> Result<Batch, Errno> {
        self.privcmd.map_foreign(domain, frames)
    }

    fn grant(&self, domain: u16, frames: &[u64]) -> Option<Window> {
        let gntdev = self.gntdev.as_ref()?;
        let references: Vec<u32> = frames.iter().map(|&frame| frame_grant(frame)).collect::<Option<_>>()?;
        gntdev.map(domain, &references).ok().map(Window::Granted)
    }
}

impl Domain {
    /// Takes up the guest's memory, of which this opens all that is needed to map it later. With `for_devices` it is
    /// mapped, where that can be, so that this domain's devices can read and write it; gntdev stays open for that, which
    /// is not bound to one guest.
    ///
    /// # Errors
    /// As [`GuestRam::map`].
    pub fn attach(model: DeviceModel, ram: &[Bank], for_devices: bool) -> Result<Domain, Error> {
        let privcmd = Arc::clone(model.privcmd());
        let has_grants =
            || Slots::new(Arc::clone(&privcmd)).features().is_ok_and(|mask| mask & FEATURE_FRAME_GRANTS != 0);
        // Without gntdev all is as without grants of frames.
        let gntdev = (for_devices && has_grants()).then(|| Gntdev::open().ok()).flatten();
        let files = Files { privcmd, gntdev };
        let ram = GuestRam::map(Arc::new(files), model.domain(), ram)?;
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
