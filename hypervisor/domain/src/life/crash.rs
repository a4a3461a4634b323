//! Finding out that the first domain's kernel is dead.
//!
//! A Linux that panics tells nobody: it writes its last words and spins. So the console's output is watched for
//! those words, and if the vCPU that wrote them then neither sleeps nor enters user mode for [`PATIENCE`], the domain counts as
//! crashed, and the registers that it had are reported. A program that merely prints the words goes on running, which
//! clears the suspicion, and nothing is said: what a guest's console shows in a terminal of the domain comes by the same
//! call as what its own kernel writes, timestamps and all. Besides, a domain may ask to be watched (`sched_op` watchdog).

use xenolith_abi::sched::ShutdownReason;

use crate::arch::{GuestRegs, log_registers};
use crate::cpu::Local;
use crate::timers::TimerKind;
use crate::vcpu::Vcpu;
use xenolith_arch as arch;

use crate::domain::{Domain, DomainRef};

/// How long a suspected vCPU may do nothing but run its kernel, in nanoseconds.
pub const PATIENCE: u64 = 10_000_000_000;

/// vCPUs whose registers are shown when a watchdog was not fed.
const SHOWN: usize = 4;

impl Domain {
    /// Hears the domain's output to the machine's console.
    pub fn watch_output(&self, vcpu: &Vcpu, local: &mut Local, regs: &GuestRegs, bytes: &[u8]) {
        let deadline = arch::now().saturating_add(arch::ticks(PATIENCE));
        // Linux says it again when it is done; once is enough.
        if !self.panic_detector.lock().scan(bytes) || !vcpu.suspect(deadline, regs) {
            return;
        }
        local.set_timer(vcpu.unit, TimerKind::Crash, Some(deadline));
        // So that the CPU sets its timer anew, which may be due later than this.
        local.choose();
    }
}

impl DomainRef<'_> {
    /// The time of a suspected vCPU may be up. An older suspicion's is none of the one that there is now.
    pub fn confirm_panic(self, vcpu: &Vcpu, now: u64) {
        if let Some(regs) = vcpu.confirm_suspicion(now) {
            log::error!(
                "{} {}: its kernel has panicked; the registers with which it said so:",
                self.id,
                vcpu.id
            );
            log_registers(log::Level::Error, &regs);
            self.shut_down(ShutdownReason::Crash);
        }
    }

    /// A watchdog may have bitten: if one has, the domain is shut down.
    pub fn check_watchdogs(self, vcpu: &Vcpu, local: &mut Local, now: u64) {
        // A timer says only when to look: the guest may have fed or stopped them since, and set another.
        let Some(first) = self.watchdogs.lock().first() else { return };
        if first > now {
            local.set_timer(vcpu.unit, TimerKind::Watchdog, Some(first));
            return;
        }
        log::error!("{}: its watchdog was not fed in time", self.id);
        for other in self.vcpus.iter().take(SHOWN) {
            // Not waited for: a vCPU that runs has its registers in its CPU, and those here are stale.
            if let Some(saved) = other.saved.try_lock().filter(|saved| !saved.loaded) {
                log::error!("{} {}:", self.id, other.id);
                log_registers(log::Level::Error, &saved.regs);
            }
        }
        if let Some(more @ 1..) = self.vcpus.len().checked_sub(SHOWN) {
            log::error!("{}: {more} more vCPUs are not shown", self.id);
        }
        self.shut_down(ShutdownReason::Watchdog);
    }
}
