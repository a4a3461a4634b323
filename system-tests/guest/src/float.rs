//! FP and SIMD registers filled with a pattern, held through time and a system call, and read back.

#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "names registers, which only assembly can")
)]

/// The FP and SIMD state of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Registers {
    control: u64,
    status: u64,
    vectors: [u128; 32],
}

impl Registers {
    /// A state that `seed` tells from others: every vector register, the rounding mode, the sticky flags.
    pub fn pattern(seed: u64) -> Self {
        const ROUNDING_SHIFT: u32 = 22;
        const STICKY_FLAGS: u64 = 0b1_1111;
        let vectors = std::array::from_fn(|number| {
            let low = (seed << 8 | number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            u128::from(low) << 64 | u128::from(!low)
        });
        Self { vectors, control: (seed & 3) << ROUNDING_SHIFT, status: seed & STICKY_FLAGS }
    }

    /// Loads these registers, counts down from `spins`, gives the CPU away once, counts down again, and
    /// returns what the registers then hold.
    #[cfg(target_arch = "aarch64")]
    pub fn hold(&self, spins: u64) -> Self {
        let mut after = Self { vectors: [0; 32], control: 0, status: 0 };
        // SAFETY: reads `self` and writes `after`, both of the layout that the offsets mean (FPCR, FPSR,
        // then 32 vectors from byte 16 on). Every register that it changes is declared; FPCR is put back. The
        // system call is sched_yield, which touches no memory of ours.
        unsafe {
            std::arch::asm!(
                "mrs {saved}, fpcr",
                "ldp {t0}, {t1}, [{before}]",
                "msr fpcr, {t0}",
                "msr fpsr, {t1}",
                "ldp q0, q1, [{before}, #16]",
                "ldp q2, q3, [{before}, #48]",
                "ldp q4, q5, [{before}, #80]",
                "ldp q6, q7, [{before}, #112]",
                "ldp q8, q9, [{before}, #144]",
                "ldp q10, q11, [{before}, #176]",
                "ldp q12, q13, [{before}, #208]",
                "ldp q14, q15, [{before}, #240]",
                "ldp q16, q17, [{before}, #272]",
                "ldp q18, q19, [{before}, #304]",
                "ldp q20, q21, [{before}, #336]",
                "ldp q22, q23, [{before}, #368]",
                "ldp q24, q25, [{before}, #400]",
                "ldp q26, q27, [{before}, #432]",
                "ldp q28, q29, [{before}, #464]",
                "ldp q30, q31, [{before}, #496]",
                "mov {t0}, {spins}",
                "2: subs {t0}, {t0}, #1",
                "b.ne 2b",
                "svc #0",
                "mov {t0}, {spins}",
                "3: subs {t0}, {t0}, #1",
                "b.ne 3b",
                "stp q0, q1, [{after}, #16]",
                "stp q2, q3, [{after}, #48]",
                "stp q4, q5, [{after}, #80]",
                "stp q6, q7, [{after}, #112]",
                "stp q8, q9, [{after}, #144]",
                "stp q10, q11, [{after}, #176]",
                "stp q12, q13, [{after}, #208]",
                "stp q14, q15, [{after}, #240]",
                "stp q16, q17, [{after}, #272]",
                "stp q18, q19, [{after}, #304]",
                "stp q20, q21, [{after}, #336]",
                "stp q22, q23, [{after}, #368]",
                "stp q24, q25, [{after}, #400]",
                "stp q26, q27, [{after}, #432]",
                "stp q28, q29, [{after}, #464]",
                "stp q30, q31, [{after}, #496]",
                "mrs {t0}, fpcr",
                "mrs {t1}, fpsr",
                "stp {t0}, {t1}, [{after}]",
                "msr fpcr, {saved}",
                before = in(reg) self,
                after = in(reg) &mut after,
                spins = in(reg) spins.max(1),
                saved = out(reg) _,
                t0 = out(reg) _,
                t1 = out(reg) _,
                in("x8") SCHED_YIELD,
                out("x0") _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _,
                out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
                out("v30") _, out("v31") _,
            );
        }
        after
    }

    /// Elsewhere than on the machine under test there is nothing to hold.
    #[cfg(not(target_arch = "aarch64"))]
    pub fn hold(&self, _spins: u64) -> Self {
        self.clone()
    }
}

/// The number of that system call on arm64.
#[cfg(target_arch = "aarch64")]
const SCHED_YIELD: u64 = 124;

/// The virtual counter, which all CPUs share.
#[cfg(target_arch = "aarch64")]
pub fn counter() -> u64 {
    let count: u64;
    // SAFETY: reads a register that Linux lets user programs read. The barrier keeps the read in place.
    unsafe { std::arch::asm!("isb", "mrs {count}, cntvct_el0", count = out(reg) count, options(nostack)) };
    count
}

/// Elsewhere than on the machine under test no counter is of interest.
#[cfg(not(target_arch = "aarch64"))]
pub fn counter() -> u64 {
    0
}
