//! A virtual CPU: what is kept of it while it does not run, and what others may ask of it while it does.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use crate::arch::{ArchConfig, Context, DeviceAccess, GuestRegs, VcpuArch};
use crate::parts::runstate::RunstateArea;
use xenolith_abi::Errno;
use xenolith_core::sync::Mutex;
use xenolith_core::sync::pending::Pending;
use xenolith_core::types::VcpuId;
use xenolith_memory::stale::StalePages;
use xenolith_policy::sched::UnitId;

/// The registers of a vCPU while no CPU holds them.
#[derive(Debug)]
pub struct Saved {
    /// What a trap saves: general registers, program counter and state.
    pub regs: GuestRegs,
    /// Everything else that the CPU holds for it.
    pub context: Context,
    /// The registers are in a physical CPU, and those here are stale.
    pub loaded: bool,
    /// Somebody has said how the vCPU begins: the toolstack, or another vCPU by way of the firmware.
    pub defined: bool,
}

/// A virtual CPU.
#[derive(Debug)]
pub struct Vcpu {
    /// Its number in its domain.
    pub id: VcpuId,
    /// Its number in the scheduler.
    pub unit: UnitId,
    /// What only the architecture knows of it.
    pub arch: VcpuArch,
    /// Registers while it does not run.
    pub saved: Mutex<Saved>,
    /// A CPU has a timer set for its virtual timer: the one that it ran on last.
    pub timer_watched: AtomicBool,
    /// Whether it has been turned on.
    pub power: Mutex<Power>,
    /// Where the guest wants to read how its time was spent.
    pub runstate: Mutex<RunstateArea>,
    /// The CPU that it ran on last, which its shared interrupts follow.
    pub last_cpu: AtomicU16,
    /// It waits in `sched_op` poll.
    pub polling: AtomicBool,
    /// When that ends, as a counter value; 0 = never.
    pub poll_until: AtomicU64,
    /// The soft affinity that the toolstack set: kept for it, without effect on the scheduler.
    pub soft_affinity: AtomicU64,
    /// The counter value at which its kernel, suspected of a panic, counts as crashed (`life::crash`); 0 = not suspected.
    suspect_until: AtomicU64,
    /// Its registers when it was suspected.
    suspect_regs: Mutex<GuestRegs>,
    /// The instruction that waits for a device model, if one does.
    pub access: Mutex<Option<DeviceAccess>>,
    /// The mapcache-invalidate flag ([`Vcpu::take_mapcache_stale`]).
    mapcache_stale: AtomicBool,
    /// The pages for which it is set.
    stale_pages: Mutex<Option<StalePages>>,
    pending: Pending,
}

/// Work that is pending for a vCPU's next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWork(u8);

impl PendingWork {
    const INTERRUPTS: PendingWork = PendingWork(1 << 0);
    const ANSWER: PendingWork = PendingWork(1 << 1);

    /// Nothing.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The interrupts to be presented to it may have changed.
    pub fn interrupts(self) -> bool {
        self.0 & Self::INTERRUPTS.0 != 0
    }

    /// A device model has answered, or will never answer.
    pub fn answer(self) -> bool {
        self.0 & Self::ANSWER.0 != 0
    }
}

/// Whether a vCPU is on, in the sense of the firmware that a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs, or waits to.
    On,
    /// It waits to be turned on.
    Off,
}

impl Vcpu {
    /// A vCPU that is off. `ENOMEM`: no memory.
    pub fn new(id: VcpuId, unit: UnitId, config: &ArchConfig) -> Result<Self, Errno> {
        let arch = VcpuArch::new(id);
        let context = arch.first_context(config)?;
        Ok(Vcpu {
            id,
            unit,
            arch,
            saved: Mutex::new(Saved { regs: GuestRegs::default(), context, loaded: false, defined: false }),
            timer_watched: AtomicBool::new(false),
            power: Mutex::new(Power::Off),
            runstate: Mutex::default(),
            last_cpu: AtomicU16::new(0),
            polling: AtomicBool::new(false),
            poll_until: AtomicU64::new(0),
            soft_affinity: AtomicU64::new(u64::MAX),
            suspect_until: AtomicU64::new(0),
            suspect_regs: Mutex::default(),
            access: Mutex::new(None),
            mapcache_stale: AtomicBool::new(false),
            stale_pages: Mutex::new(None),
            pending: Pending::new(PendingWork::INTERRUPTS.0),
        })
    }

    /// Marks its interrupts as changed: the list of those that it is shown is made anew before it is entered.
    pub fn mark_interrupts_changed(&self) {
        self.pending.mark(PendingWork::INTERRUPTS.0);
    }

    /// Marks an ioreq response as there: the access that waits for it is completed before the vCPU is entered.
    pub fn mark_answered(&self) {
        self.pending.mark(PendingWork::ANSWER.0);
    }

    /// Takes the work that is pending for its next entry.
    pub fn take_pending(&self) -> PendingWork {
        PendingWork(self.pending.take())
    }

    /// Suspects that its kernel has panicked, with these registers, until the counter reaches `deadline`. False if it is
    /// suspected already.
    pub fn suspect(&self, deadline: u64, regs: &GuestRegs) -> bool {
        let mut kept = self.suspect_regs.lock();
        let new =
            self.suspect_until.compare_exchange(0, deadline, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if new {
            *kept = *regs;
        }
        new
    }

    /// It runs a program or sleeps, which a kernel that has panicked does not.
    pub fn clear_suspicion(&self) {
        // A plain load keeps the common way free of writes.
        if self.suspect_until.load(Ordering::Relaxed) != 0 {
            self.suspect_until.store(0, Ordering::Relaxed);
        }
    }

    /// If a suspicion has lasted to its end: it is over, and these are the registers with which it began.
    pub fn confirm_suspicion(&self, now: u64) -> Option<GuestRegs> {
        let kept = self.suspect_regs.lock();
        let until = self.suspect_until.load(Ordering::Relaxed);
        let lasted = (1..=now).contains(&until)
            && self.suspect_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        lasted.then_some(*kept)
    }

    /// Whether it polls, and no longer than until `now`.
    pub fn has_polled_until(&self, now: u64) -> bool {
        self.polling.load(Ordering::Relaxed) && (1..=now).contains(&self.poll_until.load(Ordering::Relaxed))
    }

    /// Sets the mapcache-invalidate flag for a page: it was RAM, and has left the p2m.
    pub fn mark_mapcache_stale(&self, page: StalePages) {
        let mut pages = self.stale_pages.lock();
        *pages = Some(pages.map_or(page, |pages| pages.and(page)));
        self.mapcache_stale.store(true, Ordering::Release);
    }

    /// Tests and clears the mapcache-invalidate flag, set when a RAM page leaves the p2m, and says for which pages it was set.
    /// The vCPU stays paused until every ioreq server has acknowledged that it has dropped its mappings.
    #[inline]
    pub fn take_mapcache_stale(&self) -> Option<StalePages> {
        // A plain load keeps calls that take nothing away free of atomic writes.
        if self.mapcache_stale.load(Ordering::Acquire) { self.take_stale_pages() } else { None }
    }

    #[cold]
    fn take_stale_pages(&self) -> Option<StalePages> {
        let mut pages = self.stale_pages.lock();
        // Under the lock: a page that is added from here on sets it anew.
        self.mapcache_stale.store(false, Ordering::Release);
        pages.take()
    }

    /// Whether it is off and its last registers have left the CPU, so that it can be started anew.
    pub fn is_off(&self) -> bool {
        *self.power.lock() == Power::Off && !self.saved.lock().loaded
    }
}
