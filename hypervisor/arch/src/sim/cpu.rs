//! The CPUs, and which of them the thread plays.

use xenolith_core::types::CpuId;
use xenolith_host::branch_prediction::{self, Joined};
use xenolith_isa::psci::Mitigations;
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
    with(|machine| machine.pause = Pause { every: n, asked: 0 });
}

/// Whether an interrupt waits for this CPU to leave EL2, or the test wants it to look like that.
pub fn interrupt_waits() -> bool {
    stay::look();
    with(|machine| {
        let pause = &mut machine.pause;
        pause.asked = pause.asked.wrapping_add(1);
        pause.every.is_some_and(|n| pause.asked.is_multiple_of(n.max(1))) || machine.anything_pending()
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

/// What guests are told of branch prediction.
pub fn mitigations() -> Mitigations {
    with(|machine| machine.mitigations)
}

/// Has the CPUs of the machine, which come up now, be those of MIDR_EL1 and identification registers, under such firmware.
pub fn predict_branches(midr: u64, ids: &IdRegisters, features: impl Fn(u32) -> i32) {
    let joined = Joined::new();
    joined.add(&branch_prediction::decide(midr, ids, features).mitigations);
    with(|machine| machine.mitigations = joined.get());
}

/// ACTLR_EL1.
pub fn auxiliary_control() -> u64 {
    0
}
