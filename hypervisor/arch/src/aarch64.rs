//! AArch64 at EL2, without VHE: the machine under the hypervisor.
//!
//! One idea a file: what EL2 can reach (`mmu`), what a vCPU's registers are (`context`), and the devices that the hypervisor
//! drives itself (`gic`, `timer`, `uart`). Interrupts are masked whenever EL2 runs, and EL2 maps all of RAM at its own address.

pub mod branch_prediction;
pub mod context;
pub mod controls;
pub mod cpu;
pub mod errata;
pub mod exception_table;
pub mod gic;
mod idregs;
mod mmio;
pub mod mmu;
pub mod power;
mod regime;
mod stage2;
pub mod sve;
mod system_error;
pub mod timer;
mod tlb;
pub mod uart;

pub use branch_prediction::mitigations;
pub use cpu::this_cpu;
pub use idregs::{auxiliary_control, read as id_registers};
pub use power::{halt, power_off, reset};
pub use stage2::{deactivate_stage2, translate, trap_wait_for_event};
pub use sve::vector_granules;
pub use system_error::{pend_system_error, system_error_waits, take_system_error};
pub use timer::{frequency, guest_timer_fires, now, set_timer};
pub use tlb::HardwareTlb;
pub use uart::{offer_console, read_console, write_console, write_console_unlocked};

pub use xenolith_hw::sync_instructions;

/// Whether an interrupt waits for this CPU to leave EL2.
pub fn interrupt_waits() -> bool {
    read_sysreg!("isr_el1") != 0
}

/// Waits until an interrupt is pending, which stays masked.
pub fn wait_for_interrupt() {
    // SAFETY: as `relax`; the data barrier orders our stores before the wait.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}
