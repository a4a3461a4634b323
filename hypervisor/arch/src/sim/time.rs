//! The counter and the timers. Time passes by a tick with every look, and as the test says.

use super::machine::interrupts::GUEST_TIMER;
use super::machine::with;

/// Ticks in a second: as in QEMU.
const FREQUENCY: u64 = 62_500_000;

/// The counter's value.
pub fn now() -> u64 {
    with(|machine| {
        machine.counter = machine.counter.saturating_add(1);
        machine.counter
    })
}

/// Ticks of the counter in a second.
pub fn frequency() -> u64 {
    FREQUENCY
}

/// Has the CPU's own timer fire when the counter reaches `deadline`, or not at all.
pub fn set_timer(deadline: Option<u64>) {
    with(|machine| machine.cpu().timer = deadline);
}

/// Whether the virtual timer, that of the vCPU on this CPU, asks for its interrupt.
pub fn guest_timer_fires() -> bool {
    with(|machine| machine.asserted(GUEST_TIMER))
}

/// Lets time pass.
pub fn advance(ticks: u64) {
    with(|machine| machine.counter = machine.counter.saturating_add(ticks));
}
