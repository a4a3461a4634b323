//! Who may be the device model of a domain: a permission that the control domain gives for one guest to one domain, and
//! takes back.
//!
//! It is given for itself, or with a device slot; the latter goes with the last slot of the two. Who uses it asks again
//! under the lock of what is changed by that, and taking it back comes by there afterwards: so nothing is left that was
//! begun before.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::xenolith::Slot;

use crate::hypervisor::Hypervisor;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn};
use xenolith_memory::p2m::MapKind;
use xenolith_policy::slots::Parties;

use super::{Domain, DomainRef};
use crate::parts::device_models::Permission;

impl Domain {
    /// Whether `other` may use this domain's memory and answer its accesses. The control domain may for every domain;
    /// no domain may for itself.
    pub fn has_device_model(&self, other: &Domain) -> bool {
        let allowed = || self.device_models.lock().iter().any(|permission| permission.to == other.id);
        other.id != self.id && (other.is_control || allowed())
    }

    /// Lets a domain be the device model of this one, until that is taken back. `EINVAL`: it is this one. `ENOSPC`: there
    /// are too many. `ESRCH`: it is dying.
    pub fn allow_device_model(&self, other: &Domain) -> Result<(), Errno> {
        self.permit_device_model(other, true)
    }

    fn permit_device_model(&self, other: &Domain, stays: bool) -> Result<(), Errno> {
        if other.id == self.id {
            return Err(Errno::EINVAL);
        }
        let mut allowed = self.device_models.lock();
        // Its end takes back what it was allowed, after it has begun to die.
        if other.is_dying() {
            return Err(Errno::ESRCH);
        }
        if let Some(permission) = allowed.iter_mut().find(|permission| permission.to == other.id) {
            permission.stays |= stays;
            return Ok(());
        }
        allowed.try_push(Permission { to: other.id, stays }).map_err(|_| Errno::ENOSPC)
    }

    /// Withdraws the permission that the last slot of `other` has carried, unless it was also given for itself. True if
    /// `other` is no device model of this domain any more; the control domain always is one.
    fn end_slot_permission(&self, other: DomId) -> bool {
        let mut allowed = self.device_models.lock();
        allowed.retain(|permission| permission.to != other || permission.stays);
        other != DomId::CONTROL && !allowed.iter().any(|permission| permission.to == other)
    }
}

impl DomainRef<'_> {
    /// Revokes the permission of `other`, however it was given, and destroys the ioreq servers that it has here. Its
    /// mappings of this domain's memory are another matter ([`DomainRef::unmap_foreign_of`]).
    pub fn forbid_device_model(self, other: DomId) {
        {
            let mut slots = self.hv.slots.lock();
            slots.revoke(Parties { guest: self.id, backend: other });
            self.device_models.lock().retain(|permission| permission.to != other);
        }
        self.end_servers_of(other);
    }

    /// Takes away what this domain has mapped of `other`'s memory and ioreq pages, from frame `from` on, as much as fits
    /// into one call. Returns where to go on, or nothing at the end. Its grants of the other stay: those were given to it.
    pub fn unmap_foreign_of(self, other: DomId, from: u64) -> Option<u64> {
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
                let mfn = xenolith_core::types::Mfn(run.mfn.0.saturating_add(page));
                if self.hv.frames.owner_of(mfn) == Ok(other) {
                    let _ = memory.unmap_referenced(self, gfn, mfn);
                }
            }
        }
        let next = from.saturating_add(reached.max(1));
        (next < end).then_some(next)
    }

    /// The domain is dying and its vCPUs have left their CPUs: its devices are nobody's any more, and it waits for nobody.
    pub fn end_devices(self) {
        self.end_servers();
        loop {
            let ended = self.hv.slots.lock().take_of_guest(self.id);
            // At most so many as the domain had.
            let Some(parties) = ended else { break };
            self.hv.raise_virq_of(parties.backend, Virq::DeviceSlots);
        }
    }

    /// The same for what it served: of the next other domain, from this number on. Returns where to go on, or nothing when
    /// nobody waits for it any more.
    pub fn end_service(self, from: DomId) -> Option<DomId> {
        if let Some(guest) = self.hv.domain_from(from) {
            if guest.id != self.id {
                guest.on(self.hv).forbid_device_model(self.id);
            }
            return Some(DomId(guest.id.0.saturating_add(1)));
        }
        if self.hv.slots.lock().abandon(self.id) {
            self.hv.raise_virq_of(DomId::CONTROL, Virq::DeviceSlots);
        }
        None
    }
}

impl Hypervisor {
    /// Makes a device slot, and allows its backend to be the guest's device model: both, or neither. Its number.
    ///
    /// `ESRCH`: no such guest or backend, or it is dying. `EINVAL`: the guest is to serve itself. `ENOSPC`: the guest has
    /// too many device models. Others: those of [`Slots::create`](xenolith_policy::slots::Slots::create).
    pub fn create_slot(&self, wanted: &Slot) -> Result<u32, Errno> {
        let guest = self.live_domain(wanted.guest).ok_or(Errno::ESRCH)?;
        let backend = self.live_domain(wanted.backend).ok_or(Errno::ESRCH)?;
        let number = self.register_slot(&guest, &backend, wanted)?;
        self.raise_virq_of(backend.id, Virq::DeviceSlots);
        Ok(number)
    }

    fn register_slot(&self, guest: &Domain, backend: &Domain, wanted: &Slot) -> Result<u32, Errno> {
        let mut slots = self.slots.lock();
        // Their ends come by here after they have begun.
        if guest.is_dying() || backend.is_dying() {
            return Err(Errno::ESRCH);
        }
        let number = slots.create(wanted)?;
        if !backend.is_control
            && let Err(errno) = guest.permit_device_model(backend, false)
        {
            if slots.destroy(number).is_err() {
                bug!("slot {number} was made, and does not exist");
            }
            return Err(errno);
        }
        Ok(number)
    }

    /// Takes a device slot away. If the backend's permission rests on no other slot and was not given for itself, it is
    /// taken back first, with all that stands on it; `from` is where to go on with that, and what is returned is where the
    /// next call has to. The slot goes last, so that each call finds it.
    ///
    /// `ENOENT`: there is none of this number.
    pub fn destroy_slot(&self, number: u32, from: u64) -> Result<Option<u64>, Errno> {
        let ended = {
            let slots = self.slots.lock();
            let (parties, last) = slots.find(number)?;
            let guest = self.domain(parties.guest).filter(|_| last);
            guest
                .filter(|guest| guest.end_slot_permission(parties.backend))
                .map(|guest| (guest, parties.backend))
        };
        if let Some((guest, backend)) = ended {
            guest.on(self).end_servers_of(backend);
            let backend = self.domain(backend);
            let rest = backend.and_then(|backend| backend.on(self).unmap_foreign_of(guest.id, from));
            if rest.is_some() {
                return Ok(rest);
            }
        }
        let parties = self.slots.lock().destroy(number)?;
        self.raise_virq_of(parties.backend, Virq::DeviceSlots);
        Ok(None)
    }
}

/// Pages that [`DomainRef::unmap_foreign_of`] looks at in one call.
pub const PAGES_IN_ONE_GO: u32 = 64;

/// Whether a mapping may be of another domain's memory, without a grant.
pub fn is_others(kind: MapKind) -> bool {
    matches!(kind, MapKind::Foreign | MapKind::ForeignReadOnly | MapKind::Shared | MapKind::SharedReadOnly)
}
