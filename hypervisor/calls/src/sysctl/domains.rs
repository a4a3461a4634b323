//! `getdomaininfolist`.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::GetDomainInfoList;

use crate::caller::Caller;
use xenolith_core::types::DomId;

/// The upper half of the second argument of a continuation; below it the domains that are told stand, and above those the number
/// to go on with. Only the control domain can put it there by itself.
const MARK: u64 = 0x6c69_7374;

/// All domains from a number on, in the order of their numbers, as many as fit. Returns the second argument of a continuation
/// if an interrupt waits.
pub fn list(caller: &Caller<'_>, payload: &mut Payload, progress: u64) -> Result<Option<u64>, Errno> {
    let mut asked: GetDomainInfoList = payload.get();
    let (mut next, mut count) = (Some(asked.first_domain), 0);
    if progress >> 32 == MARK {
        (next, count) = (Some(DomId((progress >> 16) as u16)), (progress as u16).into());
    }
    let first = count;
    while count < asked.max_domains
        && let Some(domain) = next.and_then(|id| caller.hv.domain_from(id))
    {
        if count > first && caller.should_pause() {
            return Ok(Some(MARK << 32 | u64::from(domain.id.0) << 16 | u64::from(count)));
        }
        caller.write_element(asked.buffer, count.into(), &domain.on(caller.hv).info())?;
        count += 1;
        next = domain.id.0.checked_add(1).map(DomId);
    }
    asked.num_domains = count;
    payload.set(&asked);
    Ok(None)
}
