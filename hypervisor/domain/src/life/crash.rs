//! Finding out that the first domain's kernel is dead.
//!
//! An arm64 Linux that panics tells nobody: it writes its last words and spins. So the console's output is watched for
//! those words, and if the vCPU that wrote them then neither sleeps nor enters EL0 for [`PATIENCE`], the domain counts as
//! crashed, and the registers that it had are reported. A program that merely prints the words goes on running, which
//! clears the suspicion, and nothing is said: what a guest's console shows in a terminal of the domain comes by the same
//! call as what its own kernel writes, timestamps and all. Besides, a domain may ask to be watched (`sched_op` watchdog).

use xenolith_abi::Errno;
use xenolith_abi::sched::ShutdownReason;

use crate::cpu::Local;
use crate::hypervisor::{Hypervisor, VcpuRef};
use crate::timers::TimerKind;
use xenolith_arch as arch;
use xenolith_isa::regs::GuestRegs;

use crate::domain::Domain;

/// What Linux writes first when it panics (kernel/panic.c).
const LAST_WORDS: &[u8] = b"Kernel panic - not syncing";
/// How long a suspected vCPU may do nothing but run at EL1, in nanoseconds.
pub const PATIENCE: u64 = 10_000_000_000;
/// Watchdogs that a domain may have, as in Xen.
const WATCHDOGS: usize = 2;

/// Looks for [`LAST_WORDS`] in output that comes in pieces.
#[derive(Debug, Default)]
pub struct PanicDetector {
    matched: usize,
    /// The words have come, and the line that they are in goes on.
    in_line: bool,
}

impl PanicDetector {
    /// Takes a piece of output; true when a line ends in it that has the words.
    pub fn scan(&mut self, bytes: &[u8]) -> bool {
        let mut heard = false;
        for byte in bytes {
            // The first letter of the words comes in them only once, so that a failed match starts anew at once.
            self.matched = match LAST_WORDS.get(self.matched) {
                Some(expected) if expected == byte => self.matched + 1,
                _ => usize::from(LAST_WORDS.first() == Some(byte)),
            };
            if self.matched == LAST_WORDS.len() {
                self.in_line = true;
                self.matched = 0;
            }
            if *byte == b'\n' && self.in_line {
                self.in_line = false;
                heard = true;
            }
        }
        heard
    }
}

/// Deadlines of a domain's watchdogs, as counter values.
#[derive(Debug, Default)]
pub struct Watchdogs([Option<u64>; WATCHDOGS]);

impl Watchdogs {
    /// Sets up, feeds or stops a watchdog (`sched_op` watchdog). `id` 0 asks for a new one; `deadline` `None` stops it.
    /// Returns the watchdog's number.
    pub fn set(&mut self, id: u32, deadline: Option<u64>) -> Result<u32, Errno> {
        let (index, is_new) = match (id, deadline) {
            (0, None) => return Err(Errno::EINVAL),
            (0, Some(_)) => (self.0.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?, true),
            (id, _) => (id as usize - 1, false),
        };
        let slot = self.0.get_mut(index).filter(|slot| is_new || slot.is_some()).ok_or(Errno::EINVAL)?;
        *slot = deadline;
        Ok(if is_new { index as u32 + 1 } else { 0 })
    }

    /// When the first of them bites.
    pub fn first(&self) -> Option<u64> {
        self.0.iter().flatten().min().copied()
    }
}

impl Domain {
    /// Hears the domain's output to the machine's console.
    pub fn watch_output(&self, vcpu: &VcpuRef, local: &mut Local, regs: &GuestRegs, bytes: &[u8]) {
        let deadline = arch::now().saturating_add(arch::ticks(PATIENCE));
        // Linux says it again when it is done; once is enough.
        if !self.panic_detector.lock().scan(bytes) || !vcpu.vcpu().suspect(deadline, regs) {
            return;
        }
        local.set_timer(vcpu.vcpu().unit, TimerKind::Crash, Some(deadline));
        local.choose();
    }
}

/// The time of a suspected vCPU may be up. An older suspicion's is none of the one that there is now.
pub fn confirm(hv: &Hypervisor, vcpu: &VcpuRef, now: u64) {
    if let Some(regs) = vcpu.vcpu().confirm_suspicion(now) {
        log::error!(
            "{} {}: its kernel has panicked; the registers with which it said so:",
            vcpu.domain.id,
            vcpu.id
        );
        report(log::Level::Error, &regs);
        vcpu.domain.shut_down(hv, ShutdownReason::Crash);
    }
}

/// A watchdog may have bitten: true if it has, and the domain is shut down.
pub fn check_watchdogs(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, now: u64) {
    let Some(first) = vcpu.domain.watchdogs.lock().first() else { return };
    if first > now {
        local.set_timer(vcpu.vcpu().unit, TimerKind::Watchdog, Some(first));
        return;
    }
    log::error!("{}: its watchdog was not fed in time", vcpu.domain.id);
    for other in &vcpu.domain.vcpus {
        if let Some(saved) = other.saved.try_lock().filter(|saved| !saved.loaded) {
            log::error!("{} {}:", vcpu.domain.id, other.id);
            report(log::Level::Error, &saved.regs);
        }
    }
    vcpu.domain.shut_down(hv, ShutdownReason::Watchdog);
}

/// Writes a vCPU's registers to the log.
pub fn report(level: log::Level, regs: &GuestRegs) {
    log::log!(level, "  pc {:#018x}  pstate {:#x}", regs.pc, regs.pstate.0);
    for (row, values) in regs.x.chunks(4).enumerate() {
        let mut line = arrayvec::ArrayString::<128>::new();
        for (column, value) in values.iter().enumerate() {
            // 31 registers in rows of four fit the line.
            let _ = core::fmt::write(&mut line, format_args!("  x{:<2} {value:#018x}", row * 4 + column));
        }
        log::log!(level, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_in_any_pieces() {
        let text = b"[    1.2] KKernel Kernel panic - not syncing: sysrq\n";
        for size in 1..text.len() {
            let mut panic_detector = PanicDetector::default();
            let heard = text.chunks(size).filter(|piece| panic_detector.scan(piece)).count();
            assert_eq!(heard, 1, "pieces of {size}");
        }
        let mut panic_detector = PanicDetector::default();
        assert!(!panic_detector.scan(b"Kernel panic - not sync"));
        assert!(!panic_detector.scan(b"?ing\n"));
    }

    #[test]
    fn watchdogs_are_given_out_fed_and_stopped() {
        let mut dogs = Watchdogs::default();
        assert_eq!(dogs.set(0, None), Err(Errno::EINVAL));
        assert_eq!(dogs.set(1, Some(5)), Err(Errno::EINVAL), "none is set up");
        assert_eq!((dogs.set(0, Some(9)), dogs.set(0, Some(7))), (Ok(1), Ok(2)));
        assert_eq!(dogs.set(0, Some(1)), Err(Errno::ENOSPC));
        assert_eq!(dogs.first(), Some(7));
        assert_eq!(dogs.set(2, Some(20)), Ok(0));
        assert_eq!(dogs.first(), Some(9));
        assert_eq!((dogs.set(1, None), dogs.set(2, None)), (Ok(0), Ok(0)));
        assert_eq!(dogs.first(), None);
        assert_eq!(dogs.set(3, Some(1)), Err(Errno::EINVAL));
    }
}
