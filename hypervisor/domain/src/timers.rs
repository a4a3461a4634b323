//! Timers that a CPU keeps for vCPUs which do not run, or which wait for a time.
//!
//! A timer says when to look, and at which vCPU; what is due then, the vCPU's own state says. Whoever gives a vCPU a deadline
//! sets a timer for it on the calling CPU, and one that expires with nothing due does nothing. So a timer may stay behind when
//! its vCPU moves to another CPU, or ends and its number in the scheduler goes to another vCPU.

use alloc::boxed::Box;
use alloc::sync::Arc;

use xenolith_abi::Errno;

use xenolith_core::bug;
use xenolith_core::sync::Mutex;
use xenolith_core::timer_queue::TimerQueue;
use xenolith_core::types::CpuId;
use xenolith_policy::sched::UnitId;

/// What a timer is for. A vCPU has at most one of each kind on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuTimer {
    /// Whose it is.
    pub unit: UnitId,
    /// Which of its timers.
    pub kind: TimerKind,
}

/// The timers of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// The virtual timer, while the vCPU does not run.
    Virtual,
    /// The emulated physical timer.
    Physical,
    /// The end of `sched_op` poll.
    Poll,
    /// The end of the patience with a vCPU that may have panicked.
    Crash,
    /// The first of its domain's watchdogs, kept with the vCPU that set it.
    Watchdog,
}

impl TimerKind {
    /// All kinds.
    pub const ALL: [TimerKind; 5] =
        [TimerKind::Virtual, TimerKind::Physical, TimerKind::Poll, TimerKind::Crash, TimerKind::Watchdog];
}

/// One CPU's timers of vCPUs, at most one of each kind for each vCPU's number. Others take the lock only to make room.
#[derive(Debug, Default)]
pub struct CpuTimers(Mutex<TimerQueue<VcpuTimer>>);

impl CpuTimers {
    /// Sets or cancels a timer of a vCPU.
    #[inline]
    pub fn set(&self, unit: UnitId, kind: TimerKind, deadline: Option<u64>) {
        let timer = VcpuTimer { unit, kind };
        let mut queue = self.0.lock();
        match deadline {
            Some(deadline) => {
                // There is room for the timers of all numbers that vCPUs have ([`VcpuTimers::reserve`]).
                if queue.insert(deadline, timer).is_err() {
                    bug!("no room for a timer of {unit:?}");
                }
            }
            None => {
                queue.cancel(&timer);
            }
        }
    }

    /// When the first is due.
    pub fn next(&self) -> Option<u64> {
        self.0.lock().next()
    }

    /// Takes one that is due.
    pub fn take(&self, now: u64) -> Option<VcpuTimer> {
        self.0.lock().expire(now)
    }
}

/// The timers of vCPUs on all CPUs.
#[derive(Debug)]
pub struct VcpuTimers(Box<[Arc<CpuTimers>]>);

impl VcpuTimers {
    /// Those of so many CPUs: none, and no room for any.
    #[expect(clippy::disallowed_methods, reason = "made at boot")]
    pub fn new(cpus: usize) -> Self {
        VcpuTimers((0..cpus).map(|_| Arc::default()).collect())
    }

    /// The timers on a CPU. A CPU that does not exist has an empty queue of its own, without room.
    pub fn of(&self, cpu: CpuId) -> Arc<CpuTimers> {
        self.0.get(usize::from(cpu.0)).cloned().unwrap_or_default()
    }

    /// Makes room on every CPU for all timers of vCPUs whose numbers are up to `unit`. `ENOMEM`: no memory.
    pub fn reserve(&self, unit: UnitId) -> Result<(), Errno> {
        let units = usize::try_from(unit.0).unwrap_or(usize::MAX).saturating_add(1);
        let keys = units.saturating_mul(TimerKind::ALL.len());
        self.0.iter().try_for_each(|queue| queue.0.lock().reserve(keys)).map_err(|_| Errno::ENOMEM)
    }
}
