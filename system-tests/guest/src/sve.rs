//! SVE registers filled with a pattern, held through time, and read back.

#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "names registers, which only assembly can")
)]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::report::Report;
use crate::smp::{cpus, move_to};

/// Bytes of the longest vector.
const MOST: usize = 256;
/// Z0 to Z31, P0 to P15 and FFR of the longest vectors, one behind the other with as many bytes as the vectors have.
const BYTES: usize = 32 * MOST + 17 * MOST / 8;
/// HWCAP_SVE (Linux, `asm/hwcap.h` of arm64).
#[cfg(target_arch = "aarch64")]
const HWCAP_SVE: usize = 1 << 22;

/// Says how long the vectors are, and holds them for `seconds` on all CPUs, against those that other threads and other domains
/// hold.
pub fn run(report: &mut Report, seconds: u64) {
    let bytes = vector_bytes();
    println!("sve: {} bits", bytes * 8);
    if bytes > 0 {
        let time = Duration::from_secs(seconds);
        report.test("SVE registers of threads that share a CPU", || hold_all(time, bytes));
    }
}

/// Two threads on each CPU hold patterns of their own.
fn hold_all(time: Duration, bytes: usize) -> Result<()> {
    let (cpus, end) = (&cpus()?, Instant::now() + time);
    thread::scope(|scope| {
        let hold = |number: usize| {
            move || -> Result<()> {
                move_to(cpus[number % cpus.len()])?;
                let mut round = 0;
                while Instant::now() < end {
                    let before = Registers::pattern((number << 16 | round) as u64, bytes);
                    let after = before.hold(1 + (round as u64 % 7) * 30_000);
                    ensure!(before == after, "thread {number}, round {round}: SVE registers have changed");
                    round += 1;
                }
                ensure!(round > 3, "thread {number} had {round} rounds only");
                Ok(())
            }
        };
        let threads: Vec<_> = (0..cpus.len() * 2).map(|number| scope.spawn(hold(number))).collect();
        threads.into_iter().try_for_each(|one| one.join().expect("a thread panicked"))
    })
}

/// The SVE state of a thread.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(16))]
struct Registers([u8; BYTES]);

impl Registers {
    /// A state that `seed` tells from others, with vectors of so many bytes.
    fn pattern(seed: u64, bytes: usize) -> Registers {
        let mut registers = Registers([0; BYTES]);
        let (vectors, predicates) = (32 * bytes, 16 * bytes / 8);
        for (index, byte) in registers.0.iter_mut().take(vectors + predicates).enumerate() {
            *byte = (seed << 20 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7];
        }
        // FFR takes a row of ones with zeroes behind it only.
        let ones = seed as usize % bytes;
        let first_fault = &mut registers.0[vectors + predicates..][..bytes / 8];
        for bit in 0..ones {
            first_fault[bit / 8] |= 1 << (bit % 8);
        }
        registers
    }
}

/// The length of the vectors in bytes; 0 without SVE.
#[cfg(target_arch = "aarch64")]
fn vector_bytes() -> usize {
    if rustix::param::linux_hwcap().0 & HWCAP_SVE == 0 {
        return 0;
    }
    let bytes: usize;
    // SAFETY: only reads the length. Linux says that the CPU has the instruction.
    unsafe { std::arch::asm!(".arch_extension sve", "rdvl {}, #1", out(reg) bytes, options(nomem, nostack)) };
    bytes
}

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    r#"
    .arch_extension sve
    .macro hold_vectors operation, base
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \operation z\number, [\base, #\number, mul vl]
    .endr
    .endm
    .macro hold_predicates operation, base
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \operation p\number, [\base, #\number, mul vl]
    .endr
    .endm
    .global hold_sve
    // x0: before, x1: after, x2: spins. Of what a callee keeps (AAPCS64), D8 to D15 are put back.
hold_sve:
    stp     d8, d9, [sp, #-64]!
    stp     d10, d11, [sp, #16]
    stp     d12, d13, [sp, #32]
    stp     d14, d15, [sp, #48]
    rdvl    x3, #16
    add     x4, x0, x3, lsl #1
    add     x5, x1, x3, lsl #1
    ldr     p0, [x4, #16, mul vl]
    wrffr   p0.b
    hold_predicates ldr, x4
    hold_vectors ldr, x0
2:  subs    x2, x2, #1
    b.ne    2b
    hold_vectors str, x1
    hold_predicates str, x5
    rdffr   p0.b
    str     p0, [x5, #16, mul vl]
    ldp     d10, d11, [sp, #16]
    ldp     d12, d13, [sp, #32]
    ldp     d14, d15, [sp, #48]
    ldp     d8, d9, [sp], #64
    ret
"#
);

#[cfg(target_arch = "aarch64")]
unsafe extern "C" {
    /// # Safety
    /// `before` and `after` are [`BYTES`] long, and the CPU has SVE.
    unsafe fn hold_sve(before: *const Registers, after: *mut Registers, spins: u64);
}

#[cfg(target_arch = "aarch64")]
impl Registers {
    /// Loads these registers, counts down from `spins`, and returns what the registers then hold.
    fn hold(&self, spins: u64) -> Registers {
        let mut after = Registers([0; BYTES]);
        // SAFETY: both are of that size, and `vector_bytes` has found SVE.
        unsafe { hold_sve(self, &mut after, spins) };
        after
    }
}

/// Elsewhere than on the machine under test there is none.
#[cfg(not(target_arch = "aarch64"))]
fn vector_bytes() -> usize {
    0
}

#[cfg(not(target_arch = "aarch64"))]
impl Registers {
    /// Elsewhere than on the machine under test there is nothing to hold.
    fn hold(&self, _spins: u64) -> Registers {
        self.clone()
    }
}
