//! A guest's kernel that counts what a forwarded access costs: it reads a register that a device model answers as often
//! as the device model asks, and tells it how long that took.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Elsewhere than in a measured machine there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod kernel {
    use core::arch::asm;

    use bench_guests::counter;

    /// The device model's registers, 64 bits each (`bench/model`).
    const REGISTERS: u64 = 0x0200_0000;
    /// How often to read VALUE; all ones while nobody answers, zero at the end.
    const TIMES: u64 = REGISTERS;
    const VALUE: u64 = REGISTERS + 8;
    /// Takes the ticks that all those reads took.
    const TICKS: u64 = REGISTERS + 16;
    /// PSCI's SYSTEM_OFF (DEN0022).
    const SYSTEM_OFF: u64 = 0x8400_0008;

    bench_guests::kernel!(start);

    extern "C" fn start() -> ! {
        loop {
            match read(TIMES) {
                u64::MAX => core::hint::spin_loop(),
                0 => break,
                times => {
                    let before = counter();
                    for _ in 0..times {
                        read(VALUE);
                    }
                    write(TICKS, counter().wrapping_sub(before));
                }
            }
        }
        loop {
            // SAFETY: the guest ends.
            unsafe { asm!("hvc #0", inout("x0") SYSTEM_OFF => _, options(nostack)) };
        }
    }

    fn read(register: u64) -> u64 {
        let value;
        // SAFETY: a register of the device model, which is none of this program's memory.
        unsafe { asm!("ldr {}, [{}]", out(reg) value, in(reg) register, options(nostack)) };
        value
    }

    fn write(register: u64, value: u64) {
        // SAFETY: as for reading.
        unsafe { asm!("str {}, [{}]", in(reg) value, in(reg) register, options(nostack)) };
    }
}
