//! `sched_op`: giving up the CPU, waiting for events, shutting down.

use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_abi::sched::{POLL_PORTS, Poll, RemoteShutdown, SchedOp, Shutdown, ShutdownReason};

use crate::arch;
use crate::regs::Pstate;
use crate::run::{AlarmKind, exit};

use super::{Answer, Arguments, Caller, DONE};

/// x0: what to do; x1: its argument.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, ..] = arguments;
    match u32::try_from(op).ok().and_then(SchedOp::from_number) {
        Some(SchedOp::Yield) => {
            caller.hv.scheduler.yield_now(arch::this_cpu());
            caller.local.choose();
            DONE
        }
        Some(SchedOp::Block) => {
            caller.regs.pstate.0 &= !Pstate::I;
            exit::wait_for_interrupt(caller.hv, caller.vcpu, caller.local);
            DONE
        }
        Some(SchedOp::Shutdown) => {
            let request: Shutdown = caller.read(argument)?;
            let reason = ShutdownReason::from_number(request.reason).ok_or(Errno::EINVAL)?;
            caller.domain().shut_down(caller.hv, reason);
            caller.local.choose();
            DONE
        }
        Some(SchedOp::Poll) => poll(caller, argument),
        Some(SchedOp::RemoteShutdown) => {
            let request: RemoteShutdown = caller.read(argument)?;
            let reason = ShutdownReason::from_number(request.reason).ok_or(Errno::EINVAL)?;
            caller.target(request.domain_id)?.shut_down(caller.hv, reason);
            caller.local.choose();
            DONE
        }
        Some(SchedOp::ShutdownCode) => {
            let request: Shutdown = caller.read(argument)?;
            let reason = ShutdownReason::from_number(request.reason).ok_or(Errno::EINVAL)?;
            caller.domain().announce_shutdown(reason);
            DONE
        }
        Some(SchedOp::PinOverride) => {
            caller.require_control()?;
            Err(Errno::ENOSYS)
        }
        Some(SchedOp::Watchdog) | None => Err(Errno::ENOSYS),
    }
}

/// Sleeps until one of the ports is pending or the time (nanoseconds since boot; 0 = never) has come.
fn poll(caller: &mut Caller<'_>, argument: u64) -> Answer {
    let request: Poll = caller.read(argument)?;
    if request.nr_ports > POLL_PORTS {
        return Err(Errno::EINVAL);
    }
    let mut ports = Vec::new();
    ports.try_reserve_exact(request.nr_ports as usize).map_err(|_| Errno::ENOMEM)?;
    for index in 0..request.nr_ports {
        ports.push(caller.read::<u32>(Caller::element::<u32>(request.ports, index.into())?)?);
    }
    if !caller.domain().begin_poll(caller.vcpu.id, &ports)? {
        return DONE;
    }
    let unit = caller.vcpu.vcpu().unit;
    let deadline = (request.timeout != 0).then(|| arch::ticks(request.timeout));
    caller.local.set_alarm(unit, AlarmKind::Poll, deadline);
    caller.hv.scheduler.block(unit, arch::now());
    caller.local.choose();
    // An event may have come between the look at the ports and the block.
    if caller.domain().poll_is_over(caller.vcpu.id) {
        caller.hv.wake(unit);
    }
    DONE
}
