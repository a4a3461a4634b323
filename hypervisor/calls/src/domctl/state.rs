//! Whether a domain runs, what it does, and its end.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{Domctl, SetDomainHandle};

use crate::caller::{Arguments, Caller};
use xenolith_core::types::DomId;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_domain::parts::progress::Progress;

use super::{Outcome, Version};

/// The second argument of the continuation that has paused the domain and waits until its vCPUs have left their CPUs. Only
/// the control domain can put it there by itself, and then the call merely does not pause.
const PAUSED: u64 = 0x7061_7573_6564_0001;

/// Pauses a domain, unless this is the continuation of a call that has. `None`: no CPU holds a vCPU of it any more. Else the
/// continuation. `EINVAL`: the caller's own. `EOVERFLOW`: it is paused too often.
pub fn stop(
    caller: &Caller<'_>,
    arguments: Arguments,
    domain: DomainRef<'_>,
) -> Result<Option<Outcome>, Errno> {
    if domain.id == caller.domain().id {
        return Err(Errno::EINVAL);
    }
    let [address, mark, ..] = arguments;
    // Once for the whole call: each pause is counted, and the caller takes back one.
    if mark != PAUSED {
        domain.pause()?;
    }
    if domain.is_stopped() {
        return Ok(None);
    }
    xenolith_hw::relax();
    // Not waited for in the hypervisor: the vCPU may run on a CPU that handles a long call of its own.
    Ok(Some(Outcome::Again([address, PAUSED, 0, 0, 0])))
}

/// Pauses a domain, and waits until no CPU holds a vCPU of it. `EINVAL`: the caller's own. `EOVERFLOW`: too often.
pub fn pause(caller: &Caller<'_>, arguments: Arguments, domain: DomainRef<'_>) -> Result<Outcome, Errno> {
    stop(caller, arguments, domain).map(|wait| wait.unwrap_or(Outcome::Done))
}

/// Destroys a domain, a portion in each continuation. `EINVAL`: the caller's own, or the control domain.
pub fn destroy(caller: &Caller<'_>, arguments: Arguments, domain: &Domain) -> Result<Outcome, Errno> {
    if domain.id == caller.domain().id {
        return Err(Errno::EINVAL);
    }
    match caller.hv.destroy_domain(domain, Hypervisor::DESTROY_BUDGET)? {
        Progress::Done => Ok(Outcome::Done),
        // Perhaps another CPU has yet to let go of a vCPU: nobody waits for that here.
        Progress::Again => {
            xenolith_hw::relax();
            Ok(Outcome::Again(arguments))
        }
    }
}

/// Changes the UUID.
pub fn set_handle(domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    *domain.handle.lock() = request.payload.get::<SetDomainHandle>().handle;
    Ok(Outcome::Done)
}

/// Version 0x15 means the first domain from that number on, later ones exactly that. `EINVAL`: a reserved number in
/// version 0x15. `ESRCH`: no such domain.
pub fn info(caller: &Caller<'_>, version: Version, request: &mut Domctl) -> Result<Outcome, Errno> {
    let id = request.domain;
    let domain = match version {
        Version::V15 if id >= DomId::FIRST_RESERVED => return Err(Errno::EINVAL),
        Version::V15 => caller.hv.domain_from(id),
        Version::V16 | Version::V17 => caller.hv.domain(id),
    };
    let info = domain.ok_or(Errno::ESRCH)?.on(caller.hv).info();
    request.domain = info.domain;
    request.payload.set(&info);
    Ok(Outcome::Answered)
}
