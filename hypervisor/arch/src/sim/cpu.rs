//! The CPUs, and which of them the thread plays.

use xenolith_core::types::CpuId;
use xenolith_isa::sysreg::IdRegisters;
use xenolith_isa::sysreg::ids::samples;

use super::machine::{Pause, with};
use super::{power, stay};

/// Has the calling thread play this CPU from now on.
pub fn on_cpu(cpu: CpuId) {
    with(|machine| machine.this = cpu.0.into());
}

/// The number of the CPU that the thread plays.
pub fn this_cpu() -> CpuId {
    with(|machine| CpuId(machine.this as u16))
}

/// Has every `n`th call of [`interrupt_waits`] say yes, so that long work is put off at chosen places; `None` leaves
/// it to the interrupts that there are.
pub fn pause_every(n: Option<u32>) {
    with(|machine| machine.pause = Pause { every: n, at: None, asked: 0 });
}

/// Has the `n`th call of [`interrupt_waits`] from now on say yes, and no other: long work is put off at one place. With `None`
/// they are only counted ([`asked`]).
pub fn pause_at(n: Option<u32>) {
    with(|machine| machine.pause = Pause { every: None, at: n, asked: 0 });
}

/// How often [`interrupt_waits`] was called since [`pause_every`] or [`pause_at`] was.
pub fn asked() -> u32 {
    with(|machine| machine.pause.asked)
}

/// Whether an interrupt waits for this CPU to leave EL2, or the test wants it to look like that.
pub fn interrupt_waits() -> bool {
    stay::look();
    with(|machine| {
        let pause = &mut machine.pause;
        pause.asked = pause.asked.wrapping_add(1);
        pause.every.is_some_and(|n| pause.asked.is_multiple_of(n.max(1)))
            || pause.at == Some(pause.asked)
            || machine.anything_pending()
    })
}

/// Waits until an interrupt is pending: time moves on to the first timer of this CPU. With no interrupt pending and no
/// timer set the machine would sleep for ever; it ends as [`power::Ending::Asleep`].
pub fn wait_for_interrupt() {
    let woken = with(|machine| {
        if !machine.anything_pending()
            && let Some(deadline) = machine.next_timer()
        {
            machine.counter = machine.counter.max(deadline);
        }
        machine.anything_pending()
    });
    if !woken {
        power::end(power::Ending::Asleep);
    }
}

/// The feature registers: those of a Cortex-A57, or if it has SVE those of QEMU's `max`.
pub fn id_registers() -> IdRegisters {
    if vector_granules() > 0 { samples::MAX } else { samples::CORTEX_A57 }
}

/// The longest vectors that guests can have, in units of 128 bits; 0 for no SVE.
pub fn vector_granules() -> u8 {
    with(|machine| machine.vector_granules)
}

/// Gives the machine's CPUs SVE with vectors of so many 128 bits.
pub fn set_vector_granules(granules: u8) {
    with(|machine| machine.vector_granules = granules);
}

/// ACTLR_EL1.
pub fn auxiliary_control() -> u64 {
    0
}
