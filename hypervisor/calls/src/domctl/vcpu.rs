//! vCPUs: their registers, where they run, and how large their share is.

use core::sync::atomic::Ordering;

use xenolith_abi::Errno;
use xenolith_abi::domctl::{
    AFFINITY_FORCE, AFFINITY_HARD, AFFINITY_SOFT, DomainSchedulerOp, Domctl, MaxVcpus, NodeAffinity,
    SchedulerCommand, VcpuAffinity, VcpuContext, VcpuInfo,
};
use xenolith_abi::sysctl::SCHEDULER_CREDIT2;

use crate::caller::{Arguments, Caller};
use xenolith_arch as arch;
use xenolith_core::types::VcpuId;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::vcpu::Vcpu;
use xenolith_policy::sched::CpuMask;

use super::bitmap::{read_bitmap, write_bitmap};
use super::{Outcome, state};

/// The cap that means: as it was.
const CAP_UNCHANGED: u16 = u16::MAX;

fn vcpu(domain: &Domain, number: u32, missing: Errno) -> Result<&Vcpu, Errno> {
    u16::try_from(number).ok().and_then(|number| domain.vcpu(VcpuId(number))).ok_or(missing)
}

fn online(caller: &Caller<'_>) -> CpuMask {
    CpuMask::below(caller.hv.cpus())
}

/// The request, its vCPU, and which masks it is about. Force changes nothing, since nothing here restricts a vCPU but its masks.
fn masks<'a>(domain: &'a Domain, request: &Domctl) -> Result<(VcpuAffinity, &'a Vcpu), Errno> {
    let affinity: VcpuAffinity = request.payload.get();
    let vcpu = vcpu(domain, affinity.vcpu, Errno::EINVAL)?;
    let known = AFFINITY_HARD | AFFINITY_SOFT | AFFINITY_FORCE;
    if affinity.flags == 0 || affinity.flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((affinity, vcpu))
}

/// Tells where a vCPU may and should run, in those bitmaps that are asked for.
fn tell_masks(caller: &Caller<'_>, affinity: &VcpuAffinity, vcpu: &Vcpu) -> Result<(), Errno> {
    let (hard, _) = caller.hv.scheduler.parameters(vcpu.unit).ok_or(Errno::ESRCH)?;
    let hard = hard.and(online(caller));
    if affinity.flags & AFFINITY_HARD != 0 {
        write_bitmap(caller, &affinity.cpumap_hard, hard.0)?;
    }
    if affinity.flags & AFFINITY_SOFT != 0 {
        let soft = CpuMask(vcpu.soft_affinity.load(Ordering::Relaxed)).and(online(caller));
        write_bitmap(caller, &affinity.cpumap_soft, soft.0)?;
    }
    Ok(())
}

/// `EINVAL`: no such vCPU, no mask, or no CPU in the mask. The bitmaps come back as what is in force.
pub fn set_affinity(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let (affinity, vcpu) = masks(domain, request)?;
    let read = |flag, bitmap| match affinity.flags & flag {
        0 => Ok(None),
        _ => match CpuMask(read_bitmap(caller, bitmap)?).and(online(caller)) {
            CpuMask::NONE => Err(Errno::EINVAL),
            mask => Ok(Some(mask)),
        },
    };
    // Both masks are read before one is set, so that a bad one changes nothing.
    let hard = read(AFFINITY_HARD, &affinity.cpumap_hard)?;
    let soft = read(AFFINITY_SOFT, &affinity.cpumap_soft)?;
    if let Some(hard) = hard {
        caller.hv.kick(caller.hv.scheduler.set_affinity(vcpu.unit, hard, arch::now())?);
    }
    if let Some(soft) = soft {
        vcpu.soft_affinity.store(soft.0, Ordering::Relaxed);
    }
    tell_masks(caller, &affinity, vcpu)?;
    Ok(Outcome::Done)
}

/// Tells where a vCPU may and should run. `EINVAL`: no such vCPU, or no mask asked for.
pub fn affinity(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let (affinity, vcpu) = masks(domain, request)?;
    tell_masks(caller, &affinity, vcpu)?;
    Ok(Outcome::Done)
}

/// There is one node, number 0. `EINVAL`: it is not in the bitmap.
pub fn set_nodes(caller: &Caller<'_>, request: &Domctl) -> Result<Outcome, Errno> {
    let affinity: NodeAffinity = request.payload.get();
    match read_bitmap(caller, &affinity.nodemap)? & 1 {
        0 => Err(Errno::EINVAL),
        _ => Ok(Outcome::Done),
    }
}

/// Tells the nodes of a domain's memory: node 0.
pub fn nodes(caller: &Caller<'_>, request: &Domctl) -> Result<Outcome, Errno> {
    let affinity: NodeAffinity = request.payload.get();
    write_bitmap(caller, &affinity.nodemap, 1)?;
    Ok(Outcome::Done)
}

/// Sets registers while the domain stands still. `EINVAL`: no such vCPU, a state that a guest's CPU cannot be in, the caller's own domain.
pub fn set_context(
    caller: &Caller<'_>,
    arguments: Arguments,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let asked: VcpuContext = request.payload.get();
    let vcpu = vcpu(&domain, asked.vcpu, Errno::EINVAL)?;
    standing_still(caller, arguments, domain, || {
        if asked.ctxt.is_null() {
            return domain.reset_vcpu(vcpu);
        }
        let context = caller.read(asked.ctxt)?;
        domain.set_vcpu_context(vcpu, &context)
    })
}

/// Reads registers while the domain stands still. `ENODATA`: nobody has said yet how the vCPU begins.
pub fn context(
    caller: &Caller<'_>,
    arguments: Arguments,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let asked: VcpuContext = request.payload.get();
    let vcpu = vcpu(&domain, asked.vcpu, Errno::EINVAL)?;
    standing_still(caller, arguments, domain, || {
        let context = domain.vcpu_context(vcpu)?;
        caller.write(asked.ctxt, &context)
    })
}

/// Does something while the domain is paused and no CPU holds a vCPU of it; the continuations of one call pause it once.
fn standing_still(
    caller: &Caller<'_>,
    arguments: Arguments,
    domain: DomainRef<'_>,
    action: impl FnOnce() -> Result<(), Errno>,
) -> Result<Outcome, Errno> {
    if let Some(wait) = state::stop(caller, arguments, domain)? {
        return Ok(wait);
    }
    // The pause is taken back after an error, too.
    let result = action();
    domain.unpause()?;
    result.map(|()| Outcome::Done)
}

/// `EINVAL`: a number that no vCPU can have. `ESRCH`: no such vCPU.
pub fn info(domain: DomainRef<'_>, request: &mut Domctl) -> Result<Outcome, Errno> {
    let asked: VcpuInfo = request.payload.get();
    let vcpu = vcpu(&domain, asked.vcpu, Errno::EINVAL)?;
    request.payload.set(&domain.vcpu_info(vcpu));
    Ok(Outcome::Answered)
}

/// Nothing to do: the vCPUs are made with the domain. `EINVAL`: it has another number of them.
pub fn max_vcpus(domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: MaxVcpus = request.payload.get();
    if usize::try_from(asked.max) == Ok(domain.vcpus.len()) { Ok(Outcome::Done) } else { Err(Errno::EINVAL) }
}

/// The domain's share of CPU time. `EINVAL`: another scheduler's parameters. `EOPNOTSUPP`: a cap.
pub fn scheduler_op(caller: &Caller<'_>, domain: &Domain, request: &mut Domctl) -> Result<Outcome, Errno> {
    let mut asked: DomainSchedulerOp = request.payload.get();
    if asked.sched_id != SCHEDULER_CREDIT2 {
        return Err(Errno::EINVAL);
    }
    match SchedulerCommand::from_number(asked.cmd) {
        Some(SchedulerCommand::GetInfo) => {
            // All have the same: `putinfo` sets it for the whole domain.
            let first = domain.vcpus.first().ok_or(Errno::EINVAL)?;
            let (_, weight) = caller.hv.scheduler.parameters(first.unit).ok_or(Errno::ESRCH)?;
            (asked.weight, asked.cap) = (weight, 0);
            request.payload.set(&asked);
            Ok(Outcome::Answered)
        }
        Some(SchedulerCommand::PutInfo) if asked.cap != 0 && asked.cap != CAP_UNCHANGED => {
            Err(Errno::EOPNOTSUPP)
        }
        Some(SchedulerCommand::PutInfo) => {
            // Zero means: as it was.
            if asked.weight != 0 {
                let now = arch::now();
                for vcpu in &domain.vcpus {
                    caller.hv.scheduler.set_weight(vcpu.unit, asked.weight, now);
                }
            }
            Ok(Outcome::Done)
        }
        Some(SchedulerCommand::PutVcpuInfo | SchedulerCommand::GetVcpuInfo) | None => Err(Errno::EINVAL),
    }
}
