//! `memory_op`.

mod resource;

use core::ops::Range;

use xenolith_domain::Arc;

use xenolith_abi::Errno;
use xenolith_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, GRANT_INDEX_STATUS, MapSpace, MemoryDomain, MemoryOp, OP_BITS, OP_MASK,
    RemoveFromPhysmap, Reservation, ReservedDeviceMemoryMap,
};

use xenolith_core::types::{DomId, Gfn};
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::parts::progress::Progress;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply, value};

/// log2 of the pages in the largest extent, 2 MiB: one is populated in one go, so that must not take long. Callers that ask
/// for more fall back to this.
const MAX_ORDER: u32 = 9;
/// Where in a continuation of a reservation's command the pages stand that are done of the extent. What a guest writes there
/// of its own accord only leaves pages out.
const PAGE_SHIFT: u32 = 48;
/// Pages of an extent that are given back before an interrupt is looked for.
const PAGES_STEP: u64 = 16;
/// The extents that find room below.
const MAX_EXTENTS: u64 = 1 << (PAGE_SHIFT - OP_BITS);

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
            if !make_room(caller, &domain, space, request.idx) {
                return Ok(Reply::Continue(arguments));
            }
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
    let first = (command >> OP_BITS) % MAX_EXTENTS;
    let mut page = command >> PAGE_SHIFT;
    if request.extent_order > MAX_ORDER || request.nr_extents > MAX_EXTENTS {
        return value(first);
    }
    let again = |index, page| {
        let command = u64::from(op.number()) | index << OP_BITS | page << PAGE_SHIFT;
        Ok(Reply::Continue([command, address, 0, 0, 0]))
    };
    for index in first..request.nr_extents {
        if index > first && caller.should_pause() {
            return again(index, 0);
        }
        let gfn = caller.read_element(request.extent_start, index);
        if op == MemoryOp::PopulatePhysmap
            && let Ok(gfn) = gfn
            && !prepare(caller, domain, gfn, request.extent_order as u8)
        {
            return again(index, 0);
        }
        let done = gfn.and_then(|gfn: Gfn| match op {
            MemoryOp::PopulatePhysmap => domain.populate(gfn, request.extent_order as u8).map(|()| None),
            _ => give_back(caller, domain, gfn, page..1 << request.extent_order),
        });
        match done {
            Ok(None) => page = 0,
            Ok(Some(page)) => return again(index, page),
            Err(_) => return value(index),
        }
    }
    value(request.nr_extents)
}

/// Does what populating a large extent would take long for: takes away what others have lent there, and wipes the memory that it
/// will get, if that has not been wiped. False: an interrupt waits before that is done.
fn prepare(caller: &Caller<'_>, domain: DomainRef<'_>, gfn: Gfn, order: u8) -> bool {
    // A direct-mapped domain has its memory already.
    if 1 << order <= PAGES_STEP || domain.direct_mapped {
        return true;
    }
    loop {
        match domain.make_room(gfn, order) {
            Ok(Progress::Done) => break,
            Ok(Progress::Again) if caller.should_pause() => return false,
            Ok(Progress::Again) => {}
            // The call that this is for finds the error again.
            Err(_) => return true,
        }
    }
    while caller.hv.frames.scrub_ahead(order) {
        if caller.should_pause() {
            return false;
        }
    }
    true
}

/// Gives these pages of an extent back; returns where to go on when an interrupt waits.
fn give_back(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    gfn: Gfn,
    pages: Range<u64>,
) -> Result<Option<u64>, Errno> {
    let first = pages.start;
    for page in pages {
        if page > first && page.is_multiple_of(PAGES_STEP) && caller.should_pause() {
            return Ok(Some(page));
        }
        domain.give_page_back(Gfn(gfn.0.checked_add(page).ok_or(Errno::EINVAL)?))?;
    }
    Ok(None)
}

/// Has the grant table grow, if the page of the space is one of it. False: the call is to go on when an interrupt has been
/// taken.
fn make_room(caller: &Caller<'_>, domain: &Domain, space: Option<MapSpace>, index: u64) -> bool {
    space != Some(MapSpace::GrantTable) || caller.grow_grants(domain, index.saturating_add(1))
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
    let again = |index: u64| {
        let command = u64::from(MemoryOp::AddToPhysmapBatch.number()) | index << OP_BITS;
        Ok(Reply::Continue([command, address, 0, 0, 0]))
    };
    for index in first..request.size.into() {
        if index > first && caller.should_pause() {
            return again(index);
        }
        let from = caller.read_element(request.idxs, index)?;
        let to = caller.read_element(request.gpfns, index)?;
        if !make_room(caller, &domain, MapSpace::from_number(space), from) {
            return again(index);
        }
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
