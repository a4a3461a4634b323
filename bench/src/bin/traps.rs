//! A kernel for the first domain that counts what traps cost: the same loop runs once with an instruction that traps
//! and once with NOP in its place; the difference is what EL2 executed.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Elsewhere than in a measured machine there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod kernel {
    use core::arch::asm;
    use core::fmt::Write;

    use arrayvec::ArrayString;
    use bench_guests::{counter, print};

    /// How often each trap is taken.
    const TIMES: u64 = 1000;
    /// The distributor of QEMU's `virt` board, and two of its registers.
    const DISTRIBUTOR: u64 = 0x0800_0000;
    const TYPER: u64 = DISTRIBUTOR + 0x4;
    const ISENABLER1: u64 = DISTRIBUTOR + 0x104;

    /// A hypercall (Xen's xen.h).
    const XEN_VERSION: u64 = 17;
    /// PSCI's SYSTEM_OFF (DEN0022).
    const SYSTEM_OFF: u64 = 0x8400_0008;

    bench_guests::kernel!(start);

    /// Ticks for [`TIMES`] rounds of a loop around one instruction, which may use x0, x1 (its operand) and x16.
    macro_rules! ticks {
        ($instruction:literal, $operand:expr) => {{
            let before = counter();
            // SAFETY: what the instruction changes is named; it touches no memory of this program.
            unsafe {
                asm!(
                    "2: mov x0, #0",
                    $instruction,
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    count = inout(reg) TIMES => _,
                    in("x1") $operand,
                    in("x16") XEN_VERSION,
                    out("x0") _,
                );
            }
            counter().wrapping_sub(before)
        }};
    }

    extern "C" fn start() -> ! {
        let nothing = ticks!("nop", 0_u64);
        let traps = [
            ("hypercall", ticks!("hvc #0xea1", 0_u64)),
            ("GICD_TYPER", ticks!("ldr w0, [x1]", TYPER)),
            ("GICD_ISENABLER", ticks!("ldr w0, [x1]", ISENABLER1)),
        ];
        for (name, ticks) in traps {
            let mut line = ArrayString::<96>::new();
            // Name and numbers fit.
            let _ = write!(line, "bench: {name} {} in {TIMES}\r\n", ticks.wrapping_sub(nothing));
            print(&line);
        }
        loop {
            // SAFETY: the machine ends.
            unsafe { asm!("hvc #0", inout("x0") SYSTEM_OFF => _, options(nostack)) };
        }
    }
}
