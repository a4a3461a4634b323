//! CPU pools and the scheduler: there is one pool with all CPUs, and to tools its scheduler is credit2, which shares CPUs
//! by weight too.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::{
    CpuPoolOp, CpuPoolOpKind, Credit2, SCHEDULER_CREDIT2, SchedId, SchedulerAction, SystemSchedulerOp,
};

use crate::caller::Caller;
use crate::domctl::write_bitmap;
use xenolith_policy::sched::CpuMask;

/// Microseconds of credit2's rate limit in Xen; nothing here has such a limit.
const RATE_LIMIT: u32 = 1000;

/// Tells the scheduler of the machine.
pub fn scheduler(payload: &mut Payload) {
    payload.set(&SchedId { sched_id: SCHEDULER_CREDIT2 });
}

/// Tells what a pool has, or which CPUs are in none. `ENOENT`: no pool has that number or a higher one.
/// `ENOSYS`: pools cannot be changed.
pub fn pools(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: CpuPoolOp = payload.get();
    match CpuPoolOpKind::from_number(asked.op) {
        Some(CpuPoolOpKind::Info) if asked.cpupool_id == 0 => {
            write_bitmap(caller, &asked.cpumap, CpuMask::below(caller.hv.cpus()).0)?;
            asked.sched_id = SCHEDULER_CREDIT2;
            asked.n_dom = u32::try_from(caller.hv.domain_count()).unwrap_or(u32::MAX);
        }
        Some(CpuPoolOpKind::Info) => return Err(Errno::ENOENT),
        Some(CpuPoolOpKind::FreeInfo) => write_bitmap(caller, &asked.cpumap, 0)?,
        _ => return Err(Errno::ENOSYS),
    }
    payload.set(&asked);
    Ok(())
}

/// Tells the scheduler's parameters. `EINVAL`: another pool or scheduler, or the parameters are to be changed.
pub fn parameters(payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: SystemSchedulerOp = payload.get();
    let here = asked.cpupool_id == 0 && asked.sched_id == SCHEDULER_CREDIT2;
    match SchedulerAction::from_number(asked.cmd) {
        Some(SchedulerAction::GetInfo) if here => {
            asked.credit2 = Credit2 { ratelimit_us: RATE_LIMIT };
            payload.set(&asked);
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}
