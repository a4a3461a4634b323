//! Who may be the device model of a domain: a permission that the control domain gives for one guest to one domain, and
//! takes back.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::xenolith::Slot;

use crate::hypervisor::Hypervisor;
use crate::p2m::MapKind;
use crate::types::{DomId, Gfn};

use super::Domain;

/// Device models that one domain may have, the control domain not counted.
pub const DEVICE_MODELS: usize = 16;

/// The domains that may be a guest's device model.
pub type DeviceModels = ArrayVec<DomId, DEVICE_MODELS>;

impl Domain {
    /// Whether `other` may use this domain's memory and answer its accesses. The control domain may for every domain;
    /// no domain may for itself.
    pub fn has_device_model(&self, other: &Domain) -> bool {
        other.id != self.id && (other.is_control || self.device_models.lock().contains(&other.id))
    }

    /// Lets a domain be the device model of this one. `EINVAL`: it is this one. `ENOSPC`: there are too many. `ESRCH`: the
    /// other is dying.
    pub fn allow_device_model(&self, other: &Domain) -> Result<(), Errno> {
        if other.id == self.id {
            return Err(Errno::EINVAL);
        }
        let mut allowed = self.device_models.lock();
        if !allowed.contains(&other.id) {
            allowed.try_push(other.id).map_err(|_| Errno::ENOSPC)?;
        }
        // Its end takes it off again, unless that has been by already.
        if other.is_dying() {
            allowed.retain(|allowed| *allowed != other.id);
            return Err(Errno::ESRCH);
        }
        Ok(())
    }

    /// Takes that back, and with it the ioreq servers that the other has here. Its mappings of this domain's memory are
    /// another matter ([`Domain::unmap_foreign_of`]).
    pub fn forbid_device_model(&self, hv: &Hypervisor, other: DomId) {
        self.device_models.lock().retain(|allowed| *allowed != other);
        self.end_servers_of(hv, other);
    }

    /// Takes away what this domain has mapped of `other`'s memory and ioreq pages, from frame `from` on, as much as fits
    /// into one call. Returns where to go on, or nothing at the end. Its grants of the other stay: those were given to it.
    pub fn unmap_foreign_of(&self, hv: &Hypervisor, other: DomId, from: u64) -> Option<u64> {
        let mut memory = self.memory.lock();
        let end = memory.p2m.highest().map_or(0, |highest| highest.0.saturating_add(1));
        let pages = end.checked_sub(from).filter(|&left| left > 0)?;
        let (runs, reached) = memory.p2m.scan(Gfn(from), pages).ok()?;
        let mut budget = PAGES_IN_ONE_GO;
        for run in runs.iter().filter(|run| is_others(run.kind)) {
            for page in 0..run.pages {
                let gfn = Gfn(run.gfn.0.saturating_add(page));
                if budget == 0 {
                    return Some(gfn.0);
                }
                budget -= 1;
                let mfn = crate::types::Mfn(run.mfn.0.saturating_add(page));
                if hv.frames.owner_of(mfn) == Ok(other) {
                    let _ = memory.unmap_referenced(hv, self, gfn, mfn);
                }
            }
        }
        let next = from.saturating_add(reached.max(1));
        (next < end).then_some(next)
    }
}

impl Hypervisor {
    /// Makes a device slot of `guest`, whose backend may thereby be its device model. Returns its number. Errors: those of
    /// [`Slots::create`](crate::device::Slots::create) and [`Domain::allow_device_model`]; `ESRCH`: one of the two is
    /// dying.
    pub fn create_slot(&self, guest: &Domain, backend: &Domain, wanted: &Slot) -> Result<u32, Errno> {
        if !backend.is_control {
            guest.allow_device_model(backend)?;
        }
        let number = self.slots.lock().create(wanted)?;
        // Their end takes the slot away, unless that has been by already.
        if guest.is_dying() || backend.is_dying() {
            let _ = self.slots.lock().destroy(number);
            return Err(Errno::ESRCH);
        }
        Ok(number)
    }

    /// A domain is dying: its devices are nobody's any more, and what it served is served no more. Nobody waits for it
    /// after that, and it waits for nobody.
    pub fn end_devices_of(&self, domain: &Domain) {
        domain.end_servers(self);
        loop {
            let ended = self.slots.lock().take_of_guest(domain.id);
            // At most so many as the domain had.
            let Some(parties) = ended else { break };
            self.raise_virq_of(parties.backend, Virq::DeviceSlots);
        }
        for guest in self.domains().filter(|guest| guest.id != domain.id) {
            guest.forbid_device_model(self, domain.id);
        }
        if self.slots.lock().abandon(domain.id) {
            self.raise_virq_of(DomId::CONTROL, Virq::DeviceSlots);
        }
    }
}

/// Pages that [`Domain::unmap_foreign_of`] looks at in one call.
const PAGES_IN_ONE_GO: u32 = 512;

/// Whether a mapping may be of another domain's memory, without a grant.
fn is_others(kind: MapKind) -> bool {
    matches!(kind, MapKind::Foreign | MapKind::ForeignReadOnly | MapKind::Shared | MapKind::SharedReadOnly)
}
