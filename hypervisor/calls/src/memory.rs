//! `memory_op`.

mod resource;

use xenolith_domain::Arc;

use xenolith_abi::Errno;
use xenolith_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, GRANT_INDEX_STATUS, MapSpace, MemoryDomain, MemoryOp, OP_BITS, OP_MASK,
    RemoveFromPhysmap, Reservation, ReservedDeviceMemoryMap,
};

use xenolith_core::types::{DomId, Gfn};
use xenolith_domain::domain::{Domain, DomainRef};

use crate::caller::{Answer, Arguments, Caller, DONE, Reply, value};

/// log2 of the pages in the largest extent, 2 MiB: an extent is done in one go, so it must not take long. Callers that
/// ask for more fall back to this.
const MAX_ORDER: u32 = 9;

/// Arguments: what to do, and above that, in a continuation, how much of it is done; the argument.
///
/// - `decrease_reservation`, `populate_physmap`: the number of extents that are done, and never an error behind the first.
///   `EPERM`, `ESRCH`: not the caller's to ask for, or no such domain.
/// - `add_to_physmap`: `ENOSYS`: a space that is not served, or another domain's pages, which are for the batch. `EINVAL`: no
///   such page of the space. `EBUSY`: the shared info page is mapped elsewhere. `ENOMEM`: no memory. `EPERM`, `ESRCH`.
/// - `add_to_physmap_batch`: a result for each page: those of `add_to_physmap`, and of [`DomainRef::map_foreign`].
/// - `remove_from_physmap`: `ENOENT`: nothing is mapped there. `EINVAL`: a grant. `EPERM`, `ESRCH`.
/// - `current_reservation`, `maximum_reservation`, `maximum_gpfn`: a number. `EPERM`, `ESRCH`; of the last, a device model may
///   ask for its guest.
/// - `maximum_ram_page`: the machine's last frame. `get_sharing_freed_pages`, `get_sharing_shared_pages`: 0.
/// - `reserved_device_memory_map`: an empty list.
/// - `acquire_resource`: those of `resource::acquire`.
/// - `get_vnumainfo`: `EOPNOTSUPP`, as for a domain without virtual NUMA. Others: `ENOSYS`.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [command, address, ..] = arguments;
    let op = u32::try_from(command & OP_MASK).ok().and_then(MemoryOp::from_number).ok_or(Errno::ENOSYS)?;
    match op {
        MemoryOp::DecreaseReservation | MemoryOp::PopulatePhysmap => {
            let request: Reservation = caller.read(address)?;
            // As on Xen, nothing is done for whoever it is.
            if request.nr_extents == 0 {
                return value(0_u64);
            }
            let domain = caller.target(request.domid)?;
            reservation(caller, domain.on(caller.hv), op, &request, [command, address])
        }
        MemoryOp::AddToPhysmap => {
            let request: AddToPhysmap = caller.read(address)?;
            let space = MapSpace::from_number(request.space);
            // Another domain's pages are for the batch, which says whose.
            if space == Some(MapSpace::GmfnForeign) {
                return Err(Errno::ENOSYS);
            }
            let domain = caller.target(request.domid)?;
            // A range of none is done.
            if space != Some(MapSpace::GmfnRange) || request.size != 0 {
                add(domain.on(caller.hv), request.space, request.idx, request.gpfn)?;
            }
            DONE
        }
        MemoryOp::AddToPhysmapBatch => batch(caller, command, address),
        MemoryOp::RemoveFromPhysmap => {
            let request: RemoveFromPhysmap = caller.read(address)?;
            caller.target(request.domid)?.on(caller.hv).remove_mapping(request.gpfn)?;
            DONE
        }
        MemoryOp::CurrentReservation => {
            let request: MemoryDomain = caller.read(address)?;
            value(caller.target(request.domid)?.memory.lock().pages)
        }
        MemoryOp::MaximumReservation => {
            let request: MemoryDomain = caller.read(address)?;
            value(caller.target(request.domid)?.memory.lock().max_pages)
        }
        MemoryOp::MaximumGpfn => {
            let request: MemoryDomain = caller.read(address)?;
            // A device model is not told otherwise where its guest's RAM ends.
            let domain = match caller.target(request.domid) {
                Err(Errno::EPERM) => caller.device_model_target(request.domid)?,
                domain => domain?,
            };
            let highest = domain.memory.lock().p2m.highest();
            value(highest.map_or(0, |gfn| gfn.0))
        }
        MemoryOp::MaximumRamPage => value(caller.hv.frames.last().0),
        MemoryOp::AcquireResource => resource::acquire(caller, command, address),
        MemoryOp::GetVnumaInfo => {
            let request: MemoryDomain = caller.read(address)?;
            caller.target(request.domid)?;
            // No domain was given a layout.
            Err(Errno::EOPNOTSUPP)
        }
        MemoryOp::ReservedDeviceMemoryMap => {
            let request: ReservedDeviceMemoryMap = caller.read(address)?;
            caller.write(address, &ReservedDeviceMemoryMap { nr_entries: 0, ..request })?;
            DONE
        }
        MemoryOp::GetSharingFreedPages | MemoryOp::GetSharingSharedPages => value(0_u64),
        _ => Err(Errno::ENOSYS),
    }
}

/// Extents go one by one; the result is how many were done, and never an error once one was.
fn reservation(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    op: MemoryOp,
    request: &Reservation,
    [command, address]: [u64; 2],
) -> Answer {
    let first = command >> OP_BITS;
    if request.extent_order > MAX_ORDER {
        return value(first);
    }
    for index in first..request.nr_extents {
        if index > first && caller.should_pause() {
            return Ok(Reply::Continue([u64::from(op.number()) | index << OP_BITS, address, 0, 0, 0]));
        }
        let done = caller
            .read_element(request.extent_start, index)
            .and_then(|gfn| extent(domain, op, gfn, request.extent_order as u8));
        if done.is_err() {
            return value(index);
        }
    }
    value(request.nr_extents)
}

fn extent(domain: DomainRef<'_>, op: MemoryOp, gfn: Gfn, order: u8) -> Result<(), Errno> {
    if op == MemoryOp::PopulatePhysmap {
        return domain.populate(gfn, order);
    }
    for page in 0..1_u64 << order {
        domain.give_page_back(Gfn(gfn.0.checked_add(page).ok_or(Errno::EINVAL)?))?;
    }
    Ok(())
}

/// One page of a space at one frame.
fn add(domain: DomainRef<'_>, space: u32, index: u64, gfn: Gfn) -> Result<(), Errno> {
    match MapSpace::from_number(space) {
        Some(MapSpace::SharedInfo) if index == 0 => domain.map_shared_info(gfn),
        Some(MapSpace::SharedInfo) => Err(Errno::EINVAL),
        Some(MapSpace::GrantTable) if index & GRANT_INDEX_STATUS != 0 => Err(Errno::EINVAL),
        Some(MapSpace::GrantTable) => domain.map_grant_frame(index, gfn),
        _ => Err(Errno::ENOSYS),
    }
}

/// Many pages of one space; each has a result of its own.
fn batch(caller: &Caller<'_>, command: u64, address: u64) -> Answer {
    let request: AddToPhysmapBatch = caller.read(address)?;
    let domain = caller.target(request.domid)?;
    batch_pages(caller, domain.on(caller.hv), &request, [command, address])
}

fn batch_pages(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &AddToPhysmapBatch,
    [command, address]: [u64; 2],
) -> Answer {
    let space = request.space.into();
    let is_foreign = MapSpace::from_number(space) == Some(MapSpace::GmfnForeign);
    let owner = is_foreign.then(|| foreign_owner(caller, &domain, request.foreign_domid));
    let first = command >> OP_BITS;
    for index in first..request.size.into() {
        if index > first && caller.should_pause() {
            let command = u64::from(MemoryOp::AddToPhysmapBatch.number()) | index << OP_BITS;
            return Ok(Reply::Continue([command, address, 0, 0, 0]));
        }
        let from = caller.read_element(request.idxs, index)?;
        let to = caller.read_element(request.gpfns, index)?;
        let result = match &owner {
            Some(Ok(owner)) => domain.map_foreign(owner, Gfn(from), to),
            Some(Err(errno)) => Err(*errno),
            None => add(domain, space, from, to),
        };
        let code = result.map_or_else(Errno::to_result, |()| 0);
        caller.write_element(request.errs, index, &code)?;
    }
    DONE
}

/// The domain whose pages are to be mapped into `domain`. As on Xen, each page of the batch gets the error. `ESRCH`: there
/// is none, or it is the one that they are mapped into. `EPERM`: the caller may not.
fn foreign_owner(caller: &Caller<'_>, domain: &Domain, id: DomId) -> Result<Arc<Domain>, Errno> {
    if id == DomId::SELF || id == domain.id || id == caller.domain().id {
        return Err(Errno::ESRCH);
    }
    caller.device_model_target(id)
}
