//! Frames of a guest that its device model maps by references that name them (`xenolith_abi::xenolith::FRAME_GRANT`).
//!
//! To the hypervisor such a mapping is like any other of a guest's memory by its device model (`foreign`): it stands on
//! the same permission and goes with it. The form of a grant is for the mapper's Linux, which knows the machine address of
//! what it has mapped by a grant, and so lets devices read and write it. The guest's grant table is not looked at, and no
//! handle is kept: the mapping is found again by its address.

use xenolith_abi::Errno;
use xenolith_abi::grant::{GrantStatus, MapGrantRef, UnmapGrantRef};
use xenolith_abi::xenolith::FRAME_GRANT;

use crate::grant::{Rights, rights};
use crate::hypervisor::Hypervisor;
use crate::p2m::MapKind;
use crate::types::{DomId, Gfn, Ipa};

use super::Domain;

/// The handle of all these mappings. No entry of a maptrack has so large a number.
const HANDLE: u32 = FRAME_GRANT;

/// Whether a request to map is for a frame.
pub fn names_frame(op: &MapGrantRef) -> bool {
    op.reference & FRAME_GRANT != 0
}

/// Whether a request to unmap is for a frame.
pub fn was_frame(op: &UnmapGrantRef) -> bool {
    op.handle == HANDLE
}

impl Domain {
    /// `GNTTABOP_map_grant_ref` of a frame, one element. The status is written into `op`, and on success the handle and
    /// the machine address.
    ///
    /// `BadDomain`: there is no such domain, it is dying, or it is the caller. `PermissionDenied`: the caller is not its
    /// device model. `BadReference`: there is no RAM of its own at the frame, or the caller wants to write to what is for
    /// reading. `GeneralError`: other flags, or nothing can be mapped at the address.
    pub fn map_frame_grant(&self, hv: &Hypervisor, op: &mut MapGrantRef) {
        let status = match self.try_map_frame(hv, op) {
            Ok(machine_address) => {
                (op.handle, op.dev_bus_addr) = (HANDLE, machine_address);
                GrantStatus::Okay
            }
            Err(status) => status,
        };
        op.status = status.number();
    }

    fn try_map_frame(&self, hv: &Hypervisor, op: &MapGrantRef) -> Result<u64, GrantStatus> {
        let rights = rights(op.flags)?;
        let granter = hv.domain(DomId(op.dom)).ok_or(GrantStatus::BadDomain)?;
        // Asked again where the frame is mapped; but one that may not learns nothing about frames.
        if granter.id != self.id && !granter.has_device_model(self) {
            return Err(GrantStatus::PermissionDenied);
        }
        let from = Gfn(u64::from(op.reference & !FRAME_GRANT));
        let mapped = self.map_frame(hv, &granter, from, Ipa(op.host_addr).frame(), rights);
        mapped.map(|mfn| mfn.base().0).map_err(|errno| match errno {
            Errno::ESRCH => GrantStatus::BadDomain,
            Errno::EPERM => GrantStatus::PermissionDenied,
            Errno::ENOENT => GrantStatus::BadReference,
            _ => GrantStatus::GeneralError,
        })
    }

    /// `GNTTABOP_unmap_grant_ref` of a frame, one element. It succeeds too when the mapping has gone by other ways, as it
    /// does when the permission is taken back.
    pub fn unmap_frame_grant(&self, hv: &Hypervisor, op: &mut UnmapGrantRef) {
        let gfn = Ipa(op.host_addr).frame();
        let mut memory = self.memory.lock();
        if let Ok(entry) = memory.p2m.lookup(gfn)
            && matches!(entry.kind, MapKind::Foreign | MapKind::ForeignReadOnly)
        {
            // Under one lock with the look-up, so it is still there.
            let _ = memory.unmap_referenced(hv, self, gfn, entry.mfn);
        }
        op.status = GrantStatus::Okay.number();
    }
}

impl Rights {
    /// The kind of a mapping of a frame that the guest has as `kind`, with these rights. `None`: it is for reading only.
    pub(super) fn limit(self, kind: MapKind) -> Option<MapKind> {
        match (self, kind) {
            (Rights::ReadOnly, MapKind::Foreign | MapKind::ForeignReadOnly) => Some(MapKind::ForeignReadOnly),
            (Rights::ReadWrite, MapKind::Foreign) => Some(MapKind::Foreign),
            _ => None,
        }
    }
}
