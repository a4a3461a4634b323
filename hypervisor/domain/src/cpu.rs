//! What a physical CPU lets others see of it while it handles a trap.

use alloc::sync::Arc;

use xenolith_core::types::CpuId;
use xenolith_policy::sched::UnitId;

use crate::timers::{CpuTimers, TimerKind};

/// The part of a CPU's state that handlers may change while its vCPU is borrowed.
pub struct Local {
    id: CpuId,
    timers: Arc<CpuTimers>,
    /// The CPU is to reschedule.
    choose: bool,
}

impl Local {
    /// The state of a CPU that has chosen nobody yet.
    pub fn new(id: CpuId, timers: Arc<CpuTimers>) -> Self {
        Local { id, timers, choose: true }
    }

    /// The CPU's number.
    #[inline]
    pub fn id(&self) -> CpuId {
        self.id
    }

    /// Has the CPU reschedule before it enters a guest.
    #[inline]
    pub fn choose(&mut self) {
        self.choose = true;
    }

    /// Whether the CPU is to reschedule before it enters a guest.
    #[inline]
    pub fn is_to_choose(&self) -> bool {
        self.choose
    }

    /// Clears the mark: the CPU reschedules now.
    #[inline]
    pub fn begin_choice(&mut self) {
        self.choose = false;
    }

    /// Sets or cancels a timer of a vCPU on this CPU.
    pub fn set_timer(&mut self, unit: UnitId, kind: TimerKind, deadline: Option<u64>) {
        self.timers.set(unit, kind, deadline);
    }

    /// When the first timer on this CPU is due, as a counter value.
    #[inline]
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.next()
    }

    /// Takes a timer on this CPU that is due at `now`.
    #[inline]
    pub fn take_due(&mut self, now: u64) -> Option<crate::timers::VcpuTimer> {
        self.timers.take(now)
    }
}
