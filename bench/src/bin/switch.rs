//! A kernel for the first domain that counts what it costs to switch from one vCPU to another on a CPU: two vCPUs yield to
//! one another, first with V registers alone, then with SVE in use on both.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Elsewhere than in a measured machine there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod kernel {
    use core::arch::{asm, global_asm};
    use core::fmt::Write;
    use core::sync::atomic::{AtomicU32, Ordering};

    use arrayvec::ArrayString;
    use bench_guests::{counter, print};

    /// How often the first vCPU yields; each time there are two switches.
    const TIMES: u64 = 1000;
    /// Rounds before anything is counted, in which both vCPUs come to their loops.
    const WARM_UP: u64 = 20;
    /// PSCI's CPU_ON and SYSTEM_OFF (DEN0022).
    const CPU_ON: u64 = 0xc400_0003;
    const SYSTEM_OFF: u64 = 0x8400_0008;

    /// Tells the second vCPU to use SVE, which it does once.
    static USE_SVE: AtomicU32 = AtomicU32::new(0);

    bench_guests::kernel!(start);

    // The second vCPU, with the address of USE_SVE in x0: yields for ever (SCHEDOP_yield of Xen's sched.h).
    global_asm!(
        r#"
        .arch_extension sve
        .global second
    second:
        mov     x19, x0
    1:  ldr     w1, [x19]
        cbz     w1, 2f
        str     wzr, [x19]
        bl      begin_sve
    2:  mov     x0, #0
        mov     x1, #0
        mov     x16, #29
        hvc     #0xea1
        b       1b

        // Lets EL1 use V registers and SVE (CPACR_EL1.FPEN and ZEN), and does so.
        .global begin_sve
    begin_sve:
        mrs     x1, cpacr_el1
        orr     x1, x1, #(3 << 20)
        orr     x1, x1, #(3 << 16)
        msr     cpacr_el1, x1
        isb
        ptrue   p0.b
        ret
        "#
    );

    unsafe extern "C" {
        fn second();
        fn begin_sve();
    }

    /// Lets the second vCPU run so many times.
    fn yields(times: u64) {
        for _ in 0..times {
            // SAFETY: the hypercall changes x0 only, and touches no memory.
            unsafe {
                asm!("hvc #0xea1", in("x16") 29_u64, inout("x0") 0_u64 => _, in("x1") 0_u64);
            }
        }
    }

    /// Ticks for [`TIMES`] yields.
    fn ticks() -> u64 {
        yields(WARM_UP);
        let before = counter();
        yields(TIMES);
        counter().wrapping_sub(before)
    }

    fn say(what: &str, ticks: u64) {
        let mut line = ArrayString::<96>::new();
        // Name and numbers fit.
        let _ = write!(line, "bench: {what} {ticks} in {}\r\n", 2 * TIMES);
        print(&line);
    }

    extern "C" fn start() -> ! {
        let flag = core::ptr::from_ref(&USE_SVE);
        // SAFETY: PSCI starts the second vCPU, whose code needs no stack.
        unsafe {
            asm!(
                "hvc #0",
                inout("x0") CPU_ON => _,
                inout("x1") 1_u64 => _,
                inout("x2") second as *const () => _,
                inout("x3") flag => _,
            );
        }
        say("switch", ticks());
        USE_SVE.store(1, Ordering::Relaxed);
        // SAFETY: the function changes x1 and P0, which nothing here is in.
        unsafe { asm!("bl {begin}", begin = sym begin_sve, out("x1") _, out("x30") _) };
        say("switch-sve", ticks());
        loop {
            // SAFETY: the machine ends.
            unsafe { asm!("hvc #0", inout("x0") SYSTEM_OFF => _, options(nostack)) };
        }
    }
}
