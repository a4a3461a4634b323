//! `createdomain`: an empty, paused domain, whose structure comes back with what it has got.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{CreateDomain, CreateDomainV15, Domctl, GRANT_VERSION_MASK, create_flag};

use crate::caller::Caller;
use crate::guest;
use xenolith_core::types::DomId;
use xenolith_domain::life::create::NewDomain;

use super::{Outcome, Version};

/// What every domain is. Of other flags only [`create_flag::TRAP_UNMAPPED`] can be asked for.
const FLAGS: u32 = create_flag::HVM | create_flag::HAP;

/// Makes a domain. A number that no guest can have asks for the next free one. `EINVAL`, `ENOENT`: those of [`plan`]. Others:
/// those of [`Hypervisor::create_domain`](xenolith_domain::hypervisor::Hypervisor::create_domain).
pub fn create(caller: &Caller<'_>, version: Version, request: &mut Domctl) -> Result<Outcome, Errno> {
    let mut wanted: CreateDomain = match version {
        Version::V15 => request.payload.get::<CreateDomainV15>().into(),
        Version::V16 | Version::V17 => request.payload.get(),
    };
    // As in Xen, 0 and the reserved numbers mean: choose one (`XEN_DOMCTL_createdomain` in domctl.h).
    let id = Some(request.domain).filter(|id| (1..DomId::FIRST_RESERVED.0).contains(&id.0));
    let domain = caller.hv.create_domain(&plan(&wanted, id)?)?;
    guest::tell_granted(&domain, &mut wanted.arch);
    request.domain = domain.id;
    match version {
        Version::V15 => request.payload.set(&CreateDomainV15::from(wanted)),
        Version::V16 | Version::V17 => request.payload.set(&wanted),
    }
    Ok(Outcome::Answered)
}

/// What is asked for, if it can be had. `EINVAL`: what no domain has here. `ENOENT`: no such pool of CPUs.
fn plan(wanted: &CreateDomain, id: Option<DomId>) -> Result<NewDomain, Errno> {
    let arch = guest::requested(&wanted.arch)?;
    let none =
        [wanted.iommu_opts, wanted.altp2m_opts, wanted.vmtrace_size, wanted.grant_opts & !GRANT_VERSION_MASK];
    if wanted.flags & !create_flag::TRAP_UNMAPPED != FLAGS
        || none.iter().any(|&option| option != 0)
        // The highest version of the grant table that it may use.
        || wanted.grant_opts != 1
    {
        return Err(Errno::EINVAL);
    }
    if wanted.cpupool_id != 0 {
        return Err(Errno::ENOENT);
    }
    Ok(NewDomain {
        id,
        handle: wanted.handle,
        vcpus: wanted.max_vcpus,
        max_port: wanted.max_evtchn_port,
        grant_frames: u32::try_from(wanted.max_grant_frames).ok(),
        maptrack_frames: u32::try_from(wanted.max_maptrack_frames).ok(),
        arch,
        trap_unmapped: wanted.flags & create_flag::TRAP_UNMAPPED != 0,
    })
}
