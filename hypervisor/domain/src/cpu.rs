//! What a physical CPU lets others see of it while it handles a trap.

use alloc::sync::Arc;

use xenolith_core::types::CpuId;
use xenolith_policy::sched::UnitId;

use crate::timers::{AlarmKind, AlarmQueue};

/// The part of a CPU's state that handlers may change while its vCPU is borrowed.
pub struct Local {
    id: CpuId,
    alarms: Arc<AlarmQueue>,
    /// The next vCPU is to be chosen anew.
    choose: bool,
}

impl Local {
    /// The state of a CPU that has chosen nobody yet.
    pub fn new(id: CpuId, alarms: Arc<AlarmQueue>) -> Self {
        Local { id, alarms, choose: true }
    }

    /// The CPU's number.
    pub fn id(&self) -> CpuId {
        self.id
    }

    /// Has the CPU choose again before it enters a guest.
    pub fn choose(&mut self) {
        self.choose = true;
    }

    /// Whether the CPU is to choose before it enters a guest.
    pub fn is_to_choose(&self) -> bool {
        self.choose
    }

    /// The CPU chooses now.
    pub fn begin_choice(&mut self) {
        self.choose = false;
    }

    /// Sets or cancels a timer of a vCPU on this CPU.
    pub fn set_alarm(&mut self, unit: UnitId, kind: AlarmKind, deadline: Option<u64>) {
        self.alarms.set(unit, kind, deadline);
    }

    /// When the first timer on this CPU is due, as a counter value.
    pub fn next_alarm(&self) -> Option<u64> {
        self.alarms.next()
    }

    /// Takes a timer on this CPU that is due at `now`.
    pub fn take_due(&mut self, now: u64) -> Option<crate::timers::Alarm> {
        self.alarms.take(now)
    }
}
