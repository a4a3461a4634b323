//! `grant_table_op`: arrays of requests, each with a status of its own. Only a bad pointer fails the whole call, because
//! Linux takes any other failure for a fault of its own.

use xenolith_domain::Arc;

use xenolith_abi::grant::{
    CacheFlush, GetStatusFrames, GetVersion, GrantCopy, GrantOp, GrantStatus, MapGrantRef, QuerySize,
    SetVersion, SetupTable, SwapGrantRef, UnmapAndReplace, UnmapGrantRef,
};
use xenolith_abi::{DomId, Errno, Gfn, GuestPtr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use xenolith_core::types::{PAGE_SIZE, Pa};
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_policy::grant::{self, Flush, Lent};

use crate::caller::{Answer, Arguments, Caller, DONE, Reply, value};

/// Grants looked at in the search for one that lends a frame, before an interrupt is looked for.
const LENDS_STEP: u32 = 256;
/// Bits of the operation. Above them a continuation has what is done, as Xen has its progress there
/// (`GNTTABOP_CONTINUATION_ARG_SHIFT`): of `cache_flush` the steps of its search, of `setup_table` those of its list. A guest
/// of its own accord only looks at fewer grants, or is told of fewer frames.
const OP_BITS: u32 = 12;
/// Frames of a list that are told before an interrupt is looked for.
const LIST_STEP: u32 = 64;

/// Arguments: what to do; an array; its length.
///
/// `ENOSYS`: no such operation. `EINVAL`: an array of 2^32 requests or more, or not of one where there is to be one. All other
/// outcomes are the statuses of single requests (`GNTST_*` of grant_table.h), but for these:
///
/// - `set_version`: `ENOSYS`: version 2. `EINVAL`: any other than 1. `get_version`: `EPERM`, `ESRCH`.
/// - `cache_flush`: `EINVAL`: it leaves the page, or no such frame. `EPERM`: the frame is not the caller's, nor lent to it.
/// - `transfer`: `EOPNOTSUPP`.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, array, count, ..] = arguments;
    let command = u32::try_from(op).map_err(|_| Errno::ENOSYS)?;
    let count = u32::try_from(count).map_err(|_| Errno::EINVAL)?;
    let domain = caller.domain();
    if command & ((1 << OP_BITS) - 1) == GrantOp::CacheFlush.number() {
        return cache_flush(caller, array, count, command >> OP_BITS);
    }
    if command & ((1 << OP_BITS) - 1) == GrantOp::SetupTable.number() && count == 1 {
        return setup_table(caller, array, command >> OP_BITS);
    }
    let op = GrantOp::from_number(command).ok_or(Errno::ENOSYS)?;
    match op {
        GrantOp::MapGrantRef => {
            each(caller, op, array, count, |op: &mut MapGrantRef| grant::map(&domain, op))
        }
        GrantOp::UnmapGrantRef => {
            each(caller, op, array, count, |op: &mut UnmapGrantRef| grant::unmap(&domain, op))
        }
        GrantOp::Copy => each(caller, op, array, count, |op: &mut GrantCopy| grant::copy(&domain, op)),
        GrantOp::SwapGrantRef => each(caller, op, array, count, |op: &mut SwapGrantRef| {
            op.status = domain.grants.lock().swap(op.a, op.b).number();
        }),
        GrantOp::QuerySize if count == 1 => query_size(caller, array),
        GrantOp::SetVersion if count == 1 => {
            let mut request: SetVersion = caller.read(array)?;
            let wanted = grant::set_version(request.version);
            request.version = 1;
            caller.write(array, &request)?;
            wanted.map(|()| Reply::Value(0))
        }
        GrantOp::GetVersion if count == 1 => {
            let mut request: GetVersion = caller.read(array)?;
            caller.target(request.dom)?;
            request.version = 1;
            caller.write(array, &request)?;
            DONE
        }
        // What a mapping is replaced by is an entry of a page table of the caller's, and domains have their own here.
        GrantOp::UnmapAndReplace => each(caller, op, array, count, |op: &mut UnmapAndReplace| {
            op.status = GrantStatus::GeneralError.number();
        }),
        GrantOp::GetStatusFrames if count == 1 => status_frames(caller, array),
        GrantOp::Transfer => Err(Errno::EOPNOTSUPP),
        GrantOp::DumpTable => Err(Errno::ENOSYS),
        GrantOp::CacheFlush
        | GrantOp::QuerySize
        | GrantOp::SetupTable
        | GrantOp::SetVersion
        | GrantOp::GetVersion
        | GrantOp::GetStatusFrames => Err(Errno::EINVAL),
    }
}

/// Does something to each element. A continuation begins behind the elements that are done.
fn each<T: FromBytes + IntoBytes + Immutable>(
    caller: &Caller<'_>,
    op: GrantOp,
    array: impl Into<GuestPtr<T>>,
    count: u32,
    mut act: impl FnMut(&mut T),
) -> Answer {
    let array = array.into();
    for index in 0..count {
        let place = Caller::element(array, index.into())?;
        if index > 0 && caller.should_pause() {
            return Ok(Reply::Continue([op.number().into(), place.address(), (count - index).into(), 0, 0]));
        }
        let mut element: T = caller.read(place)?;
        act(&mut element);
        caller.write(place, &element)?;
    }
    DONE
}

/// The domain that a request is about, or the status of a request for another.
fn domain_of(caller: &Caller<'_>, id: DomId) -> Result<Arc<Domain>, GrantStatus> {
    caller.target(id).map_err(|errno| match errno {
        Errno::EPERM => GrantStatus::PermissionDenied,
        _ => GrantStatus::BadDomain,
    })
}

fn query_size(caller: &Caller<'_>, array: u64) -> Answer {
    let mut request: QuerySize = caller.read(array)?;
    request.status = match domain_of(caller, request.dom) {
        Ok(domain) => {
            (request.nr_frames, request.max_nr_frames) = domain.grants.lock().size();
            GrantStatus::Okay
        }
        Err(status) => status,
    }
    .number();
    caller.write(array, &request)?;
    DONE
}

/// Version 1 has no such frames.
fn status_frames(caller: &Caller<'_>, array: u64) -> Answer {
    let mut request: GetStatusFrames = caller.read(array)?;
    let status = domain_of(caller, request.dom).err().unwrap_or(GrantStatus::GeneralError);
    request.status = status.number();
    caller.write(array, &request)?;
    DONE
}

/// Makes the table as large as asked for and tells where its frames are mapped: all ones where they are not. So many steps of
/// the list are done.
fn setup_table(caller: &Caller<'_>, array: u64, steps: u32) -> Answer {
    let mut request: SetupTable = caller.read(array)?;
    let status = match domain_of(caller, request.dom) {
        Ok(domain) => match set_up(caller, domain.on(caller.hv), &request, steps)? {
            Setup::Done(status) => status,
            Setup::Again(steps) => {
                let command = GrantOp::SetupTable.number() | steps << OP_BITS;
                return Ok(Reply::Continue([command.into(), array, 1, 0, 0]));
            }
        },
        Err(status) => status,
    };
    request.status = status.number();
    caller.write(array, &request)?;
    DONE
}

/// How far a table is set up.
enum Setup {
    Done(GrantStatus),
    /// So many steps of the list are done.
    Again(u32),
}

fn set_up(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &SetupTable,
    steps: u32,
) -> Result<Setup, Errno> {
    if !caller.grow_grants(&domain, request.nr_frames.into()) {
        return Ok(Setup::Again(steps));
    }
    let status = domain.grants.lock().setup(request.nr_frames, || domain.new_grant_frame());
    if status == GrantStatus::Okay {
        let first = steps.saturating_mul(LIST_STEP);
        for index in first..request.nr_frames {
            if index > first && index.is_multiple_of(LIST_STEP) && caller.should_pause() {
                return Ok(Setup::Again(index / LIST_STEP));
            }
            let gfn = domain.grants.lock().gfn_of(index.into()).unwrap_or(Gfn(u64::MAX));
            caller.write_element(request.frame_list, index.into(), &gfn)?;
        }
    }
    Ok(Setup::Done(status))
}

/// Cache maintenance on frames that the caller owns or that are lent to it. Of the first, so many steps of the search for who
/// lends it are done.
fn cache_flush(caller: &Caller<'_>, array: u64, count: u32, mut steps: u32) -> Answer {
    let array = GuestPtr::<CacheFlush>::new(array);
    for index in 0..count {
        let place = Caller::element(array, index.into())?;
        let again = |steps: u32| {
            let command = GrantOp::CacheFlush.number() | steps << OP_BITS;
            Ok(Reply::Continue([command.into(), place.address(), (count - index).into(), 0, 0]))
        };
        if index > 0 && caller.should_pause() {
            return again(0);
        }
        let request = caller.read(place)?;
        if let Some(flush) = grant::flush_request(&request)? {
            while !may_flush(caller, &flush, steps)? {
                steps = steps.saturating_add(1);
                if caller.should_pause() {
                    return again(steps);
                }
            }
            // Cleaning and invalidating at once is what both requests may become.
            let start = Pa(flush.mfn.base().0 + u64::from(flush.offset));
            xenolith_hw::clean_to_memory(start.0, u64::from(flush.length).min(PAGE_SIZE));
        }
        steps = 0;
    }
    value(0_u64)
}

/// Whether it is known that the caller may flush the frame, after another step of the search. `EPERM`: it may not.
fn may_flush(caller: &Caller<'_>, flush: &Flush, steps: u32) -> Result<bool, Errno> {
    let owner = caller.hv.frames.owner_of(flush.mfn).map_err(|_| Errno::EINVAL)?;
    if owner == caller.domain().id {
        return Ok(true);
    }
    let domain = caller.hv.domain(owner).ok_or(Errno::EPERM)?;
    let from = steps.saturating_mul(LENDS_STEP);
    let lent = domain.grants.lock().lends(flush.mfn, caller.domain().id, from, LENDS_STEP);
    match lent {
        Lent::Yes => Ok(true),
        Lent::No => Err(Errno::EPERM),
        Lent::Unknown(_) => Ok(false),
    }
}
