//! A domain's memory, as the control domain sets it up.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{AddressSize, CacheFlush, Domctl, MaxMem, PagingMempool};

use crate::caller::{Arguments, Caller};
use xenolith_core::types::Gfn;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::parts::progress::Progress;

use super::Outcome;

/// log2 of the most frames that one flush may have, as in Xen: 1 GiB.
const MAX_FLUSH_ORDER: u32 = 18;
/// Pages moved into or out of a pool before the call looks for an interrupt.
const STEP: u32 = 32;

/// Sets how much RAM the domain may own, in KiB. It may be less than what it owns: then it gets no more.
pub fn max_mem(domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: MaxMem = request.payload.get();
    domain.memory.lock().max_pages = asked.max_memkb / 4;
    Ok(Outcome::Done)
}

/// Accepts 64, the only width of addresses here, for a domain without memory. `EBUSY`: it has some. `EINVAL`: another width.
pub fn set_address_size(domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: AddressSize = request.payload.get();
    match asked.size {
        64 if domain.memory.lock().pages == 0 => Ok(Outcome::Done),
        64 => Err(Errno::EBUSY),
        _ => Err(Errno::EINVAL),
    }
}

/// Cleans a range of guest frames to memory; a continuation has the rest in the structure. `EINVAL`: the range wraps, or is
/// longer than 1 GiB.
pub fn cache_flush(caller: &Caller<'_>, domain: &Domain, request: &mut Domctl) -> Result<Outcome, Errno> {
    let mut rest: CacheFlush = request.payload.get();
    let end = rest.start_pfn.0.checked_add(rest.nr_pfns).ok_or(Errno::EINVAL)?;
    if rest.nr_pfns > 1 << MAX_FLUSH_ORDER {
        return Err(Errno::EINVAL);
    }
    // Nothing is mapped beyond the address space.
    let limit = caller.hv.geometry.end().0;
    let mut next = rest.start_pfn.0;
    let last = end.min(limit);
    while next < last {
        next = next.saturating_add(domain.clean_frames(Gfn(next), last - next)?);
        if next < last && caller.should_pause() {
            (rest.start_pfn, rest.nr_pfns) = (Gfn(next), end - next);
            request.payload.set(&rest);
            return Ok(Outcome::Rest);
        }
    }
    Ok(Outcome::Done)
}

/// Tells the bytes of the paging pool.
pub fn paging_pool(domain: &Domain, request: &mut Domctl) -> Result<Outcome, Errno> {
    request.payload.set(&PagingMempool { size: domain.paging_pool() });
    Ok(Outcome::Answered)
}

/// Sets the bytes of the paging pool. `EINVAL`: not a multiple of the page size. `ENOMEM`: no memory, or the tables in use need
/// more.
pub fn set_paging_pool(
    caller: &Caller<'_>,
    arguments: Arguments,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let asked: PagingMempool = request.payload.get();
    loop {
        match domain.set_paging_pool(asked.size, STEP)? {
            Progress::Done => return Ok(Outcome::Done),
            Progress::Again if caller.should_pause() => return Ok(Outcome::Again(arguments)),
            Progress::Again => {}
        }
    }
}
