//! Mapping a granted frame, taking the mapping away, and letting go of all when the mapper dies.

use xenolith_abi::grant::{GrantStatus, MapGrantRef, UnmapGrantRef, map as flag};

use super::{Domains, Mapping, Rights};
use xenolith_core::types::{DomId, Ipa};
use xenolith_memory::page::Page;

/// `GNTTABOP_map_grant_ref`, one element. Outputs are written into `op`: always the status, and on success the handle
/// and the machine address.
///
/// `BadReference`: no map flag, or no such entry. `GeneralError`: flags other than host, or host and read-only; the
/// entry does not grant it (see [`super::GrantTable::acquire`]); the mapper has no room in its tables there.
/// `BadDomain`, `PermissionDenied`, `NoSpace` (of handles), `BadPage`.
pub fn map<D: Domains>(domains: &D, op: &mut MapGrantRef) {
    let status = match try_map(domains, op) {
        Ok((handle, page)) => {
            op.handle = handle;
            op.dev_bus_addr = page.mfn().base().0;
            GrantStatus::Okay
        }
        Err(status) => status,
    };
    op.status = status.number();
}

fn try_map<D: Domains>(domains: &D, op: &MapGrantRef) -> Result<(u32, Page), GrantStatus> {
    let rights = rights(op.flags)?;
    let granter = op.dom;
    may_use(domains, granter)?;
    // First, so that nothing was mapped when there is none; filled last, because another vCPU may guess the number and
    // unmap what it stands for.
    let handle = domains.with_maptrack(|maptrack| maptrack.reserve())?;
    let number = handle.number();
    match use_and_map(domains, op, granter, rights) {
        Ok((mapping, page)) => {
            domains.with_maptrack(|maptrack| maptrack.fill(handle, mapping));
            Ok((number, page))
        }
        Err(status) => {
            domains.with_maptrack(|maptrack| maptrack.give_back(handle));
            Err(status)
        }
    }
}

fn use_and_map<D: Domains>(
    domains: &D,
    op: &MapGrantRef,
    granter: DomId,
    rights: Rights,
) -> Result<(Mapping, Page), GrantStatus> {
    let page = acquire(domains, granter, op.reference, rights)?;
    let gfn = Ipa(op.host_addr).frame();
    let mapping = Mapping { granter, reference: op.reference, rights, gfn, mfn: page.mfn() };
    if domains.map(gfn, page.mfn(), granter, rights).is_err() {
        release(domains, granter, op.reference, rights);
        return Err(GrantStatus::GeneralError);
    }
    Ok((mapping, page))
}

/// `GNTTABOP_unmap_grant_ref`, one element. As on Xen, a zero address leaves everything as it is, with success.
///
/// `BadHandle`: it stands for no mapping. `GeneralError`: the mapping is at another address.
pub fn unmap<D: Domains>(domains: &D, op: &mut UnmapGrantRef) {
    let gfn = Ipa(op.host_addr).frame();
    let meant = |mapping: &Mapping| {
        if mapping.gfn == gfn { Ok(()) } else { Err(GrantStatus::GeneralError) }
    };
    let status = if op.host_addr == 0 {
        domains.with_maptrack(|maptrack| maptrack.check(op.handle))
    } else {
        take_away(domains, op.handle, meant)
    };
    op.status = status.err().unwrap_or(GrantStatus::Okay).number();
}

/// Takes a mapping away. The use ends after the mapping is gone from every CPU, and the handle is free after that.
fn take_away<D: Domains>(
    domains: &D,
    number: u32,
    meant: impl FnOnce(&Mapping) -> Result<(), GrantStatus>,
) -> Result<(), GrantStatus> {
    let (handle, mapping) = domains.with_maptrack(|maptrack| maptrack.take(number, meant))?;
    domains.unmap(mapping.gfn, mapping.mfn);
    release(domains, mapping.granter, mapping.reference, mapping.rights);
    domains.with_maptrack(|maptrack| maptrack.give_back(handle));
    Ok(())
}

/// Takes away what the caller, which dies and makes no more calls, has still mapped: looks at no more than `budget`
/// handles, beginning with `from`. Returns the handle to go on with, or `None` when all is done.
#[must_use]
pub fn release_held<D: Domains>(domains: &D, from: u32, budget: u32) -> Option<u32> {
    let end = from.saturating_add(budget.max(1));
    let mut next = from;
    while next < end {
        match domains.with_maptrack(|maptrack| maptrack.next_live(next, end.saturating_sub(next))) {
            Ok(live) => {
                // A call that the domain made before may have had it since it was found.
                let _ = take_away(domains, live, |_| Ok(()));
                next = live.saturating_add(1);
            }
            Err(rest) => return rest,
        }
    }
    Some(end)
}

fn rights(flags: u32) -> Result<Rights, GrantStatus> {
    const READ_WRITE: u32 = flag::HOST;
    const READ_ONLY: u32 = flag::HOST | flag::READ_ONLY;
    match flags {
        READ_WRITE => Ok(Rights::ReadWrite),
        READ_ONLY => Ok(Rights::ReadOnly),
        _ if flags & (flag::HOST | flag::DEVICE) == 0 => Err(GrantStatus::BadReference),
        _ => Err(GrantStatus::GeneralError),
    }
}

/// Whether the caller may use grants of this domain at all.
pub(super) fn may_use<D: Domains>(domains: &D, granter: DomId) -> Result<(), GrantStatus> {
    if !domains.exists(granter) {
        return Err(GrantStatus::BadDomain);
    }
    if domains.permits(granter) { Ok(()) } else { Err(GrantStatus::PermissionDenied) }
}

/// Begins a use of a grant by the caller.
pub(super) fn acquire<D: Domains>(
    domains: &D,
    granter: DomId,
    reference: u32,
    rights: Rights,
) -> Result<Page, GrantStatus> {
    let by = domains.caller();
    let acquired =
        domains.with_table(granter, |table, resolve| table.acquire(reference, by, rights, resolve));
    acquired.unwrap_or(Err(GrantStatus::BadDomain))
}

/// Ends a use that [`acquire`] began.
pub(super) fn release<D: Domains>(domains: &D, granter: DomId, reference: u32, rights: Rights) {
    if let Some(frame) = domains.with_table(granter, |table, _| table.release(reference, rights)).flatten() {
        domains.let_go(frame);
    }
}
