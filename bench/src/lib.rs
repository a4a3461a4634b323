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

/// Writes a line to the hypervisor's console, from a kernel.
#[cfg(target_os = "none")]
pub fn print(line: &str) {
    // A hypercall, and a function of its (Xen's xen.h).
    const CONSOLE_IO: u64 = 18;
    const CONSOLE_WRITE: u64 = 0;
    // SAFETY: the hypercall reads the line and changes x0 only.
    unsafe {
        core::arch::asm!(
            "hvc #0xea1",
            in("x16") CONSOLE_IO,
            inout("x0") CONSOLE_WRITE => _,
            in("x1") line.len(),
            in("x2") line.as_ptr(),
            options(nostack)
        );
    }
}

/// The head of a kernel (`Image` format): a stack, relocation, and then the function that is named, which never returns.
#[macro_export]
macro_rules! kernel {
    ($start:path) => {
        core::arch::global_asm!(
            r#"
            .section .head, "ax"
            .global image_start
        image_start:
            b       1f
            .word   0
            .quad   0                           // text_offset
            .quad   image_end - image_start     // image_size
            .quad   0xa                         // little endian, 4 KiB pages, anywhere
            .quad   0, 0, 0
            .ascii  "ARM\x64"
            .word   0

        1:  msr     daifset, #0xf
            adrp    x1, stack_end
            add     x1, x1, :lo12:stack_end
            mov     sp, x1

            // Every relocation adds the load address to a word (R_AARCH64_RELATIVE).
            adr     x5, image_start
            adrp    x3, relocations_start
            add     x3, x3, :lo12:relocations_start
            adrp    x4, relocations_end
            add     x4, x4, :lo12:relocations_end
        2:  cmp     x3, x4
            b.hs    3f
            ldp     x6, x7, [x3], #16
            ldr     x8, [x3], #8
            add     x8, x8, x5
            str     x8, [x6, x5]
            b       2b
        3:  b       {start}

            .section .bss
            .balign 16
            .skip   16384
        stack_end:
            .text
            "#,
            start = sym $start,
        );
    };
}

/// No figure comes, which the reader of the console notices.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
