//! What the hypervisor costs: ticks of the counter between a CPU's coming from a guest and its return to one, and how often it came.
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
            account.since.store(arch::now(), Ordering::Relaxed);
        }
    }

    /// The CPU goes on after a wait.
    pub fn resume(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            account.since.store(arch::now(), Ordering::Relaxed);
        }
    }

    /// The CPU goes to a guest, or waits.
    pub fn leave(&self, cpu: CpuId) {
        if let Some(account) = self.of(cpu) {
            let spent = arch::now().wrapping_sub(account.since.load(Ordering::Relaxed));
            account.ticks.fetch_add(spent, Ordering::Relaxed);
        }
    }

    /// Writes the accounts of the first `cpus` CPUs to the log, as far as their last return to a guest.
    pub fn show(&self, cpus: u16) {
        for (cpu, account) in self.0.iter().take(cpus.into()).enumerate() {
            let (ticks, entries) = (&account.ticks, &account.entries);
            log::info!(
                "cpu{cpu}: EL2 took {} ticks in {} entries",
                ticks.load(Ordering::Relaxed),
                entries.load(Ordering::Relaxed)
            );
        }
    }
}
