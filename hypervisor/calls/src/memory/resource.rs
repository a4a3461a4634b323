//! `XENMEM_acquire_resource`: pages that the hypervisor keeps for a domain, mapped into the caller.

use xenolith_abi::Errno;
use xenolith_abi::memory::{AcquireResource, MemoryOp, OP_BITS, Resource};

use xenolith_core::types::{DomId, Gfn};
use xenolith_domain::domain::Domain;
use xenolith_domain::life::build::MAX_GRANT_FRAMES;

use crate::caller::{Answer, Caller, DONE, Reply};

/// `id` of the frames of the grant table that its entries are in (`XENMEM_resource_grant_table_id_shared`).
const GRANT_SHARED: u32 = 0;
/// Bit of a continuation's command: the call has failed, and what it has mapped is being unmapped. A guest of its own accord
/// unmaps what it has mapped by such calls.
const UNWIND: u64 = 1 << 63;
/// The most pages that an object has: those of a grant table.
const MOST_PAGES: u32 = MAX_GRANT_FRAMES;

/// Maps pages of an object at the frames that the caller lists; or, without a list, tells how many there are.
///
/// `EINVAL`: the padding is not zero; the object has no such pages; or a frame is beyond the limit. `EPERM`: the caller's
/// own, or not its to map. `ESRCH`: no such domain, or it is dying. `EOPNOTSUPP`: no such kind of object. `EIO`: a page
/// that is not the first failed; those before it are not mapped either.
pub fn acquire(caller: &Caller<'_>, command: u64, address: u64) -> Answer {
    let mut request: AcquireResource = caller.read(address)?;
    if command & UNWIND != 0 {
        return unwind(caller, &request, (command & !UNWIND) >> OP_BITS, address);
    }
    if request.pad != 0 {
        return Err(Errno::EINVAL);
    }
    if request.domid == DomId::SELF || request.domid == caller.domain().id {
        return Err(Errno::EPERM);
    }
    let owner = caller.device_model_target(request.domid)?;
    if owner.is_dying() {
        return Err(Errno::ESRCH);
    }
    let size = size(&owner, request.kind, request.id)?;
    if request.frame_list.is_null() {
        if request.nr_frames != 0 {
            return Err(Errno::EINVAL);
        }
        request.nr_frames = size;
        caller.write(address, &request)?;
        return DONE;
    }
    let end = request.frame.checked_add(request.nr_frames.into()).ok_or(Errno::EINVAL)?;
    if end > size.into() {
        return Err(Errno::EINVAL);
    }
    pages(caller, &owner, &request, [command, address])
}

/// How many pages an object has, or can have.
fn size(owner: &Domain, kind: u16, id: u32) -> Result<u32, Errno> {
    match Resource::from_number(kind) {
        Some(Resource::GrantTable) if id == GRANT_SHARED => Ok(owner.grants.lock().size().1),
        Some(Resource::GrantTable | Resource::VmtraceBuffer) => Err(Errno::EINVAL),
        #[cfg(feature = "ioreq")]
        Some(Resource::IoreqServer) => Ok(owner.server_resource_size()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// Maps page `index` of an object.
fn map(
    caller: &Caller<'_>,
    owner: &Domain,
    request: &AcquireResource,
    index: u64,
    gfn: Gfn,
) -> Result<(), Errno> {
    match Resource::from_number(request.kind) {
        Some(Resource::GrantTable) => caller.domain().map_grant_resource(owner, index, gfn),
        #[cfg(feature = "ioreq")]
        Some(Resource::IoreqServer) => {
            let server = u16::try_from(request.id).map_err(|_| Errno::EINVAL)?;
            caller.domain().map_server_frame(owner, xenolith_policy::ioreq::ServerId(server), index, gfn)
        }
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn pages(
    caller: &Caller<'_>,
    owner: &Domain,
    request: &AcquireResource,
    [command, address]: [u64; 2],
) -> Answer {
    let first = command >> OP_BITS;
    let again = |index: u64| {
        let command = u64::from(MemoryOp::AcquireResource.number()) | index << OP_BITS;
        Ok(Reply::Continue([command, address, 0, 0, 0]))
    };
    for index in first..request.nr_frames.into() {
        if index > first && caller.should_pause() {
            return again(index);
        }
        let place = caller.read_element(request.frame_list, index);
        // The sum is below the object's size.
        let page = request.frame.wrapping_add(index);
        if Resource::from_number(request.kind) == Some(Resource::GrantTable)
            && !caller.grow_grants(owner, page.saturating_add(1))
        {
            return again(index);
        }
        if let Err(errno) = place.and_then(|gfn| map(caller, owner, request, page, gfn)) {
            return if index == 0 { Err(errno) } else { unwind(caller, request, index, address) };
        }
    }
    DONE
}

/// Unmaps the first `count` pages, and ends the call. `EINVAL`: no object has so many pages, so that no call has begun with them.
fn unwind(caller: &Caller<'_>, request: &AcquireResource, count: u64, address: u64) -> Answer {
    // The count and the structure are the guest's to write. The owner is not asked again: it may have ended meanwhile.
    if request.nr_frames > MOST_PAGES {
        return Err(Errno::EINVAL);
    }
    let count = count.min(request.nr_frames.into());
    for index in (0..count).rev() {
        let left = index + 1;
        if left < count && caller.should_pause() {
            let command = u64::from(MemoryOp::AcquireResource.number()) | left << OP_BITS | UNWIND;
            return Ok(Reply::Continue([command, address, 0, 0, 0]));
        }
        if let Ok(gfn) = caller.read_element(request.frame_list, index) {
            caller.domain().unmap_resource(gfn);
        }
    }
    Err(Errno::EIO)
}
