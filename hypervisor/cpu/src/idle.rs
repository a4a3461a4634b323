//! What a CPU does while it has nothing to run: it watches for a while, and then sleeps.
//!
//! A CPU that sleeps takes long to wake, most of all an emulated one, and has to be woken by an interrupt. One that watches
//! is kicked by a word in memory and goes on at once. That pays where a wait is short, as for a device model's answer; so
//! how long a CPU watches follows from how long its last waits were, and one whose waits are long just sleeps. Linux's KVM
//! does the same for guests that halt, and allows half the span on Arm: its guests wait for a kernel, ours for a device
//! model, which takes most of a millisecond to copy a MiB on the machines that we measure.

use xenolith_arch as arch;
use xenolith_core::types::CpuId;
use xenolith_domain::hypervisor::Hypervisor;

/// The longest halt_poll, and the longest wait that counts as short, in nanoseconds.
const LONGEST: u64 = 1_000_000;

/// Looks between two readings of the counter. A look reads a word and a register. The counter takes far longer, and where
/// CPUs are emulated it keeps the others from what they do, as a hint to the emulator does.
const LOOKS: u32 = 100;

/// How long a CPU is to poll before it sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct HaltPoll {
    span: u64,
}

impl HaltPoll {
    /// A wait is over that took so many ticks, of which `longest` are [`LONGEST`].
    fn update(&mut self, waited: u64, longest: u64) {
        // A few long waits between short ones change little; many end the watching.
        self.span = if waited <= longest { longest } else { self.span / 2 };
    }
}

/// Waits until an interrupt is pending, or another CPU has kicked this one.
pub fn wait(hv: &Hypervisor, cpu: CpuId, halt_poll: &mut HaltPoll) {
    let begun = arch::now();
    let look = || arch::interrupt_waits() || hv.kicks.is_kicked(cpu);
    let watches = halt_poll.span > 0;
    let kicked = watches && {
        let end = begun.saturating_add(halt_poll.span);
        // Who kicks a CPU that watches sends no interrupt: it leaves a mark, which `look` sees.
        hv.kicks.poll(cpu, || {
            while !(0..LOOKS).any(|_| look()) && arch::now() < end {
                xenolith_hw::relax();
            }
        })
    };
    if !(kicked || watches && arch::interrupt_waits()) {
        arch::wait_for_interrupt();
    }
    halt_poll.update(arch::now().saturating_sub(begun), arch::ticks(LONGEST));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_make_it_watch_and_long_ones_end_that() {
        let mut halt_poll = HaltPoll::default();
        halt_poll.update(1001, 1000);
        assert_eq!(halt_poll.span, 0);
        halt_poll.update(1000, 1000);
        assert_eq!(halt_poll.span, 1000);
        halt_poll.update(9999, 1000);
        assert_eq!(halt_poll.span, 500);
        halt_poll.update(3, 1000);
        assert_eq!(halt_poll.span, 1000);
        for _ in 0..10 {
            halt_poll.update(5000, 1000);
        }
        assert_eq!(halt_poll.span, 0);
    }
}
