//! The timers of vCPUs that do not run, or that wait for a time: which are due on this CPU, and what that means for each.

use core::sync::atomic::Ordering;

use super::interrupt_time::InterruptTime;
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_domain::timers::TimerKind;
use xenolith_domain::vcpu::Vcpu;

/// Has the CPU watch the virtual timer of a vCPU that stops running here, or no longer.
pub fn set_guest_timer(local: &mut Local, vcpu: &Vcpu, deadline: Option<u64>) {
    // A vCPU whose timer is off needs none, and has none to be taken away.
    if deadline.is_some() || vcpu.timer_watched.load(Ordering::Relaxed) {
        local.set_timer(vcpu.unit, TimerKind::Virtual, deadline);
        vcpu.timer_watched.store(deadline.is_some(), Ordering::Relaxed);
    }
}

/// Handles all timers that are due, each at its domain's expense.
pub fn expire(hv: &Hypervisor, local: &mut Local, now: u64, time: &mut InterruptTime) {
    while let Some(alarm) = local.take_due(now) {
        time.begin();
        // Its domain has ended since; a timer stays behind and says nothing.
        let Some(vcpu) = hv.vcpu(alarm.unit) else { continue };
        let (domain, vcpu) = (vcpu.domain.on(hv), vcpu.vcpu());
        match alarm.kind {
            TimerKind::Virtual => {
                // The vCPU may run again by now, here or elsewhere: then the hardware has its timer.
                let due = {
                    let saved = vcpu.saved.lock();
                    !saved.loaded && saved.context.timer_deadline().is_some_and(|deadline| deadline <= now)
                };
                if due {
                    domain.raise_private(vcpu.id, domain.arch.guest_timer);
                }
            }
            TimerKind::Physical => super::guest::timer_due(domain, vcpu, local, now),
            TimerKind::Poll => {
                // It may have polled again since, and for longer.
                if vcpu.has_polled_until(now) {
                    domain.end_poll(vcpu.id);
                }
            }
            TimerKind::Crash => domain.confirm_panic(vcpu, now),
            TimerKind::Watchdog => domain.check_watchdogs(vcpu, local, now),
        }
        time.book(hv, Some(&domain));
    }
}
