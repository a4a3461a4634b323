//! `sched_op`: giving up the CPU, waiting for events, shutting down.

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use xenolith_abi::Errno;
use xenolith_abi::sched::{POLL_PORTS, Poll, RemoteShutdown, SchedOp, Shutdown, ShutdownReason, Watchdog};

use xenolith_arch as arch;
use xenolith_domain::arch::{log_registers, unmask_interrupts};
use xenolith_domain::timers::TimerKind;
use xenolith_policy::event::Port;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply, value};

/// Bytes of a vCPU's registers in the log, about.
const LAST_WORDS: usize = 900;

/// Arguments: what to do; its argument. `ENOSYS`: no such operation.
///
/// - `yield`, `block`: none.
/// - `shutdown`, `shutdown_code`: `EINVAL`: no such reason.
/// - `remote_shutdown`: `EINVAL`: no such reason. `EPERM`, `ESRCH`: another domain, for others than the control domain; no such
///   domain.
/// - `poll`: `EINVAL`: more than 128 ports, or no such port.
/// - `watchdog`: the number of a new one. `EINVAL`: no such watchdog. `ENOSPC`: the domain has two.
/// - `pin_override`: `EPERM`, and `ENOSYS` for the control domain.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, ..] = arguments;
    match u32::try_from(op).ok().and_then(SchedOp::from_number) {
        Some(SchedOp::Yield) => {
            caller.hv.scheduler.yield_now(arch::this_cpu());
            caller.local.choose();
            DONE
        }
        Some(SchedOp::Block) => {
            unmask_interrupts(caller.regs);
            caller.domain().wait_for_interrupt(caller.vcpu.vcpu(), caller.local);
            DONE
        }
        Some(SchedOp::Shutdown) => {
            let request: Shutdown = caller.read(argument)?;
            let reason = ShutdownReason::from_number(request.reason).ok_or(Errno::EINVAL)?;
            if reason == ShutdownReason::Crash && caller.domain().takes_console(LAST_WORDS) {
                log::error!(
                    "{} {} says that it has crashed; its registers:",
                    caller.domain().id,
                    caller.vcpu.id
                );
                log_registers(log::Level::Error, caller.regs);
            }
            caller.domain().shut_down(reason);
            caller.local.choose();
            DONE
        }
        Some(SchedOp::Poll) => poll(caller, argument),
        Some(SchedOp::RemoteShutdown) => {
            let request: RemoteShutdown = caller.read(argument)?;
            let reason = ShutdownReason::from_number(request.reason).ok_or(Errno::EINVAL)?;
            caller.target(request.domain_id)?.on(caller.hv).shut_down(reason);
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
        Some(SchedOp::Watchdog) => watchdog(caller, argument),
        None => Err(Errno::ENOSYS),
    }
}

/// Has the domain shut down unless it calls again within some seconds; 0 seconds ends that.
fn watchdog(caller: &mut Caller<'_>, argument: u64) -> Answer {
    let request: Watchdog = caller.read(argument)?;
    let now = arch::now();
    let deadline = (request.timeout != 0)
        .then(|| now.saturating_add(arch::ticks(u64::from(request.timeout).saturating_mul(1_000_000_000))));
    let (id, first) = {
        let domain = caller.domain();
        let mut watchdogs = domain.watchdogs.lock();
        (watchdogs.set(request.id, deadline)?, watchdogs.first())
    };
    caller.local.set_timer(caller.vcpu.vcpu().unit, TimerKind::Watchdog, first);
    caller.local.choose();
    value(id)
}

/// Sleeps until one of the ports is pending, the time (nanoseconds since the domain began; 0 = never) has come, or an interrupt waits.
fn poll(caller: &mut Caller<'_>, argument: u64) -> Answer {
    let request: Poll = caller.read(argument)?;
    if request.nr_ports > POLL_PORTS {
        return Err(Errno::EINVAL);
    }
    let mut ports = ArrayVec::<Port, { POLL_PORTS as usize }>::new();
    for index in 0..request.nr_ports {
        let port = caller.read_element(request.ports, index.into())?;
        ports.try_push(port).map_err(|_| Errno::EINVAL)?;
    }
    let vcpu = caller.vcpu.vcpu();
    // First block, then look: an event or interrupt that comes in between takes the block back.
    caller.hv.scheduler.block(vcpu.unit, arch::now());
    caller.local.choose();
    let pending = caller.domain().events.lock().poll(vcpu.id, &ports);
    if pending != Ok(false) {
        caller.hv.wake(vcpu.unit);
        return pending.map(|_| Reply::Value(0));
    }
    if caller.domain().interrupt_waits(vcpu) {
        caller.domain().end_poll(vcpu.id);
        return DONE;
    }
    let deadline = (request.timeout != 0).then(|| caller.domain().counter_at(request.timeout).max(1));
    vcpu.poll_until.store(deadline.unwrap_or(0), Ordering::Relaxed);
    vcpu.polling.store(true, Ordering::Relaxed);
    caller.local.set_timer(vcpu.unit, TimerKind::Poll, deadline);
    DONE
}
