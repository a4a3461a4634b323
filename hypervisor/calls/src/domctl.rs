//! `domctl`: what the control domain does to domains.
//!
//! The structure is copied in once and, where the operation has results, copied back whole. Its padding means nothing:
//! Xen 4.17's tools leave there what was on their stack. The interface version decides layouts and, for
//! `getdomaininfo`, the meaning.

mod bitmap;
mod create;
mod device;
mod memory;
mod state;
mod vcpu;

use xenolith_abi::Errno;
use xenolith_abi::domctl::{Domctl, DomctlOp, VERSION_4_17, VERSION_4_18, VERSION_4_20};

use xenolith_domain::domain::DomainRef;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply};

pub use bitmap::write_bitmap;

/// Which Xen's layouts and meanings a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Xen 4.17.
    V15,
    /// Xen 4.18 and 4.19: only what describes a domain.
    V16,
    /// Xen 4.20.
    V17,
}

/// How an operation ends that does not fail.
enum Outcome {
    /// Done, and nothing to tell.
    Done,
    /// Done, and the structure has results in it.
    Answered,
    /// A hypercall continuation with these arguments.
    Again(Arguments),
    /// A hypercall continuation with the same arguments; the structure, which is written back, says what is left to do.
    Rest,
}

/// Arguments: the structure; in a continuation the mark of [`state`].
///
/// `EPERM`: the caller is not the control domain. `EACCES`: another version of the interface. `ESRCH`: no such domain.
/// `ENOSYS`: no such operation, or not in this version. Others: those of the operation, which its function lists.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [address, ..] = arguments;
    caller.require_control()?;
    let mut request: Domctl = caller.read(address)?;
    let op = DomctlOp::from_number(request.cmd);
    let version = match request.interface_version {
        VERSION_4_17 => Version::V15,
        VERSION_4_18 if op == Some(DomctlOp::GetDomainInfo) => Version::V16,
        VERSION_4_20 => Version::V17,
        _ => return Err(Errno::EACCES),
    };
    let outcome = match op {
        Some(DomctlOp::CreateDomain) => create::create(caller, version, &mut request),
        Some(DomctlOp::GetDomainInfo) => state::info(caller, version, &mut request),
        op => {
            // As in Xen, the domain is looked up before the operation is known to exist: a missing domain is `ESRCH`
            // for any number.
            let domain = caller.hv.domain(request.domain).ok_or(Errno::ESRCH)?;
            let op = op.filter(|&op| exists(op, version)).ok_or(Errno::ENOSYS)?;
            of_domain(caller, arguments, op, domain.on(caller.hv), &mut request)
        }
    };
    match outcome? {
        Outcome::Done => DONE,
        Outcome::Answered => {
            caller.write(address, &request)?;
            DONE
        }
        Outcome::Again(arguments) => Ok(Reply::Continue(arguments)),
        // What has been done is taken off the structure, so that the continuation begins where this stops.
        Outcome::Rest => {
            caller.write(address, &request)?;
            Ok(Reply::Continue(arguments))
        }
    }
}

/// Whether the version of the interface has the operation.
fn exists(op: DomctlOp, version: Version) -> bool {
    match op {
        DomctlOp::DtOverlay | DomctlOp::GsiPermission | DomctlOp::SetLlcColors => version == Version::V17,
        _ => true,
    }
}

/// Operations on a domain that exists.
fn of_domain(
    caller: &mut Caller<'_>,
    arguments: Arguments,
    op: DomctlOp,
    domain: DomainRef<'_>,
    request: &mut Domctl,
) -> Result<Outcome, Errno> {
    match op {
        DomctlOp::DestroyDomain => state::destroy(caller, arguments, &domain),
        DomctlOp::PauseDomain => state::pause(caller, arguments, domain),
        DomctlOp::UnpauseDomain => domain.unpause().map(|()| Outcome::Done),
        DomctlOp::ResumeDomain => domain.resume_after_shutdown().map(|()| Outcome::Done),
        DomctlOp::SetDomainHandle => state::set_handle(&domain, request),
        DomctlOp::SetVcpuAffinity => vcpu::set_affinity(caller, &domain, request),
        DomctlOp::GetVcpuAffinity => vcpu::affinity(caller, &domain, request),
        DomctlOp::SetNodeAffinity => vcpu::set_nodes(caller, request),
        DomctlOp::GetNodeAffinity => vcpu::nodes(caller, request),
        DomctlOp::SetVcpuContext => vcpu::set_context(caller, arguments, domain, request),
        DomctlOp::GetVcpuContext => vcpu::context(caller, arguments, domain, request),
        DomctlOp::GetVcpuInfo => vcpu::info(domain, request),
        DomctlOp::MaxVcpus => vcpu::max_vcpus(&domain, request),
        DomctlOp::SchedulerOp => vcpu::scheduler_op(caller, &domain, request),
        DomctlOp::MaxMem => memory::max_mem(&domain, request),
        DomctlOp::SetAddressSize => memory::set_address_size(&domain, request),
        DomctlOp::CacheFlush => memory::cache_flush(caller, &domain, request),
        DomctlOp::GetPagingMempoolSize => memory::paging_pool(&domain, request),
        DomctlOp::SetPagingMempoolSize => memory::set_paging_pool(caller, arguments, domain, request),
        DomctlOp::SetTarget => device::set_target(caller, &domain, request),
        DomctlOp::IrqPermission => device::irq_permission(caller, domain, request),
        DomctlOp::IomemPermission => device::iomem_permission(caller, &domain, request),
        DomctlOp::MemoryMapping => device::memory_mapping(caller, &domain, request),
        DomctlOp::BindPtIrq => device::bind_interrupt(caller, domain, request),
        DomctlOp::UnbindPtIrq => device::unbind_interrupt(caller, domain, request),
        DomctlOp::VuartOp => device::make_uart(domain, request),
        // As Xen without colours, and without an IOMMU.
        DomctlOp::SetLlcColors
        | DomctlOp::AssignDevice
        | DomctlOp::TestAssignDevice
        | DomctlOp::DeassignDevice
        | DomctlOp::GetDeviceGroup => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOSYS),
    }
}
