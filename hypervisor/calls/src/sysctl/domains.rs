//! `getdomaininfolist`.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::GetDomainInfoList;

use crate::caller::Caller;
use xenolith_core::types::DomId;

/// All domains from a number on, in the order of their numbers, as many as fit.
pub fn list(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: GetDomainInfoList = payload.get();
    let mut next = Some(asked.first_domain);
    let mut count = 0;
    while count < asked.max_domains
        && let Some(domain) = next.and_then(|id| caller.hv.domain_from(id))
    {
        caller.write_element(asked.buffer, count.into(), &domain.on(caller.hv).info())?;
        count += 1;
        next = domain.id.0.checked_add(1).map(DomId);
    }
    asked.num_domains = count;
    payload.set(&asked);
    Ok(())
}
