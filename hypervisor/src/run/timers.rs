//! Timers that a CPU keeps for vCPUs which do not run, or which wait for a time.

use crate::domain::crash;
use crate::hypervisor::Hypervisor;
use crate::sched::UnitId;

use super::Local;

/// What a timer is for. A vCPU has at most one of each kind on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// Whose it is.
    pub unit: UnitId,
    /// Which of its timers.
    pub kind: AlarmKind,
}

/// The timers of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The virtual timer, while the vCPU does not run.
    Virtual,
    /// The emulated EL1 physical timer.
    Physical,
    /// The end of `sched_op` poll.
    Poll,
    /// The end of the patience with a vCPU that may have panicked.
    Crash,
    /// The first of its domain's watchdogs, kept with the vCPU that set it.
    Watchdog,
}

impl AlarmKind {
    /// How many kinds there are.
    pub const COUNT: usize = 5;
}

impl Local {
    /// Sets or cancels a timer of a vCPU.
    pub fn set_alarm(&mut self, unit: UnitId, kind: AlarmKind, deadline: Option<u64>) {
        let alarm = Alarm { unit, kind };
        match deadline {
            // `Cpu::new` has made room for every vCPU's alarms, so this does not fail.
            Some(deadline) => {
                let _ = self.alarms.insert(deadline, alarm);
            }
            None => {
                self.alarms.cancel(&alarm);
            }
        }
    }
}

/// Has the CPU watch the virtual timer of a vCPU that stops running here, or no longer.
pub fn set_guest_timer(local: &mut Local, unit: UnitId, deadline: Option<u64>) {
    local.set_alarm(unit, AlarmKind::Virtual, deadline);
}

/// Handles all timers that are due.
pub fn expire(hv: &Hypervisor, local: &mut Local, now: u64) {
    while let Some(alarm) = local.alarms.expire(now) {
        let Some(vcpu) = hv.vcpu(alarm.unit) else { continue };
        match alarm.kind {
            AlarmKind::Virtual => {
                // The vCPU may run again by now, here or elsewhere: then the hardware has its timer.
                let due = {
                    let saved = vcpu.vcpu().saved.lock();
                    !saved.loaded && saved.context.timer_deadline().is_some_and(|deadline| deadline <= now)
                };
                if due {
                    vcpu.domain.raise_private(hv, vcpu.id, vcpu.domain.guest_timer);
                }
            }
            AlarmKind::Physical => super::exit::physical_timer_due(hv, &vcpu, local, now),
            AlarmKind::Poll => vcpu.domain.end_poll(hv, vcpu.id),
            AlarmKind::Crash => crash::confirm(hv, &vcpu, now),
            AlarmKind::Watchdog => crash::check_watchdogs(hv, &vcpu, local, now),
        }
    }
}
