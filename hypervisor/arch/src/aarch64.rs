//! AArch64 at EL2, without VHE: the machine under the hypervisor.
//!
//! One idea a file: how a CPU gets in (`entry`, `vectors`), what EL2 can reach (`mmu`), what a vCPU's registers are
//! (`context`), and the devices that the hypervisor drives itself (`gic`, `timer`, `uart`). Interrupts are masked
//! whenever EL2 runs, and EL2 maps all of RAM at its own address.

#[macro_use]
mod sysreg;

mod boot;
mod cache;
pub mod context;
mod copy;
mod cpu;
mod entry;
pub mod gic;
mod heap;
mod idregs;
mod mmio;
mod mmu;
mod panic;
mod power;
mod secondary;
mod selftest;
mod stage2;
mod timer;
mod traps;
mod uart;
mod vectors;

pub use cache::{clean_to_memory, sync_instructions, zero_page};
pub use cpu::this_cpu;
pub use idregs::{auxiliary_control, read as id_registers};
pub use power::{halt, power_off, reset};
pub use stage2::{HardwareTlb, Stage2, activate_stage2, deactivate_stage2, translate, trap_wait_for_event};
pub use timer::{frequency, now, set_timer};
pub use uart::{read_console, write_console, write_console_unlocked};

/// Tells the CPU, and the emulator that plays it, that the surrounding loop waits for someone else.
pub fn relax() {
    // SAFETY: a hint; it touches neither memory nor registers.
    unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// The index if it is below `len`, else 0, computed without a branch; nor does the CPU go on with a guess of it (Arm ARM,
/// CSDB).
pub fn confine(index: usize, len: usize) -> usize {
    let confined;
    // SAFETY: arithmetic on registers.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "csel {confined}, {index}, xzr, lo",
            "csdb",
            index = in(reg) index,
            len = in(reg) len,
            confined = lateout(reg) confined,
            options(pure, nomem, nostack),
        );
    }
    confined
}

/// Whether an interrupt waits for this CPU to leave EL2.
pub fn interrupt_waits() -> bool {
    read_sysreg!("isr_el1") != 0
}

/// Waits until an interrupt is pending, which stays masked.
pub fn wait_for_interrupt() {
    // SAFETY: as `relax`; the data barrier orders our stores before the wait.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}
