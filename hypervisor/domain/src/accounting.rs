//! What the hypervisor costs: ticks of the counter between a CPU's coming from a guest and its return to one, how often it came, and
//! the longest that it worked without a look for interrupts.
//!
//! It is for benchmarks, and off unless the crate is built with the feature `accounting`: nothing else pays for it. The
//! saving and loading of the general registers in the vectors is not seen.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_arch as arch;
use xenolith_core::types::CpuId;

/// CPUs that are accounted for.
const CPUS: usize = if cfg!(feature = "accounting") { 64 } else { 0 };

/// One CPU's account.
#[derive(Debug, Default)]
struct Account {
    since: AtomicU64,
    ticks: AtomicU64,
    entries: AtomicU64,
    /// When it last looked whether an interrupt waits.
    looked: AtomicU64,
    longest: AtomicU64,
}

impl Account {
    fn begin(&self) {
        let now = arch::now();
        self.since.store(now, Ordering::Relaxed);
        self.looked.store(now, Ordering::Relaxed);
    }

    /// It looks for interrupts; the time.
    fn look(&self) -> u64 {
        let now = arch::now();
        let worked = now.wrapping_sub(self.looked.swap(now, Ordering::Relaxed));
        self.longest.fetch_max(worked, Ordering::Relaxed);
        now
    }
}

/// The accounts of all CPUs. Without the feature there are none.
#[derive(Debug)]
pub struct Accounts([Account; CPUS]);

impl Default for Accounts {
    fn default() -> Self {
        Accounts(core::array::from_fn(|_| Account::default()))
    }
}

impl Accounts {
    fn of(&self, cpu: CpuId) -> Option<&Account> {
        self.0.get(usize::from(cpu.0))
    }

    /// The CPU has come from a guest.
    pub fn enter(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            account.entries.fetch_add(1, Ordering::Relaxed);
            account.begin();
        }
    }

    /// The CPU goes on after a wait.
    pub fn resume(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            account.begin();
        }
    }

    /// The CPU looks whether an interrupt waits, and may go on.
    pub fn look(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            account.look();
        }
    }

    /// The CPU goes to a guest, or waits.
    pub fn leave(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            let spent = account.look().wrapping_sub(account.since.load(Ordering::Relaxed));
            account.ticks.fetch_add(spent, Ordering::Relaxed);
        }
    }

    /// Writes the accounts of the first `cpus` CPUs to the log, as far as their last return to a guest.
    pub fn show(&self, cpus: u16) {
        for (cpu, account) in self.0.iter().take(cpus.into()).enumerate() {
            let told = |count: &AtomicU64| count.load(Ordering::Relaxed);
            log::info!(
                "cpu{cpu}: EL2 took {} ticks in {} entries, {} the longest without a look for interrupts",
                told(&account.ticks),
                told(&account.entries),
                told(&account.longest)
            );
        }
    }
}
