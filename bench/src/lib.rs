//! What the programs for measured machines share: the counter, and the last resort.
//!
//! The counter tells the machine's time since reset. Under QEMU's `-icount` with one CPU that time is the number of
//! instructions executed, whoever executed them, so that a figure repeats exactly.
#![cfg_attr(target_os = "none", no_std)]

/// Ticks of the machine's counter since reset (CNTVCT_EL0), after everything before the call is done.
#[cfg(target_os = "none")]
pub fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: a barrier, and a read of a register that kernels and Linux programs may read.
    unsafe {
        core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags))
    };
    ticks
}

/// Ticks a second (CNTFRQ_EL0).
#[cfg(target_os = "none")]
pub fn frequency() -> u64 {
    let hertz: u64;
    // SAFETY: as for the counter.
    unsafe {
        core::arch::asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack, preserves_flags))
    };
    hertz
}

/// No figure comes, which the reader of the console notices.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
