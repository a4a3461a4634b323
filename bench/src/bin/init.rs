//! The first process of a measured Linux: says when it was reached, and powers the machine off.
//!
//! A static program with no library under it, so that nothing but the kernel's own work is measured.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Elsewhere than in a measured machine there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod linux {
    use core::arch::asm;
    use core::fmt::Write;

    use arrayvec::ArrayString;
    use bench_guests::{counter, frequency};

    // System calls of arm64 (asm-generic/unistd.h).
    const WRITE: u64 = 64;
    const REBOOT: u64 = 142;
    // Arguments of reboot(2) (linux/reboot.h).
    const MAGIC1: u64 = 0xfee1_dead;
    const MAGIC2: u64 = 672_274_793;
    const POWER_OFF: u64 = 0x4321_fedc;

    fn call(number: u64, arguments: [u64; 3]) {
        let [a, b, c] = arguments;
        // SAFETY: the two calls that are made change nothing in this process.
        unsafe {
            asm!("svc #0", in("x8") number, inout("x0") a => _, in("x1") b, in("x2") c, options(nostack))
        };
    }

    /// Where the kernel enters the program.
    // SAFETY: no other symbol of this program has the name.
    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        let ticks = counter();
        let mut line = ArrayString::<96>::new();
        // The two numbers and the words fit.
        let _ = writeln!(line, "\nbench: init at {ticks} of {}", frequency());
        call(WRITE, [1, line.as_ptr() as u64, line.len() as u64]);
        loop {
            call(REBOOT, [MAGIC1, MAGIC2, POWER_OFF]);
        }
    }
}
