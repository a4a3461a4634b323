//! The CPU's registers, and waiting.

use core::arch::asm;

/// Reads a system register that reading does not change.
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register touches no memory and changes nothing.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register, and waits until that has its effect.
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: of this module's callers, each writes a register of the timer or of the interrupt controller, which lets an
        // interrupt come or not; memory is left alone.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags)) };
    }};
}

pub(crate) use {read_register, write_register};

/// The exception level.
pub fn level() -> u64 {
    read_register!("currentel") >> 2 & 3
}

/// Which CPU this is: its affinity, as the device tree has it in `reg`.
pub fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xff_00ff_ffff
}

/// Lets interrupts be taken until `done` says that what they were for has happened.
pub fn wait_until(done: impl Fn() -> bool) {
    loop {
        if done() {
            return;
        }
        // Masked, so that no interrupt comes between the question and WFI, which one that is masked ends as well.
        // SAFETY: an interrupt that is taken here leaves all registers as they were, and no lock is held.
        unsafe { asm!("wfi", "msr daifclr, #2", "isb", "msr daifset, #2", options(nostack)) };
    }
}
