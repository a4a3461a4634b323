//! SVE for vCPUs: the Z and P registers and FFR, and how far EL1 may use them.
//!
//! A vCPU that has not used SVE since its reset is like one without: its uses trap, and only V0 to V31 are switched. From its
//! first use on all of it is switched each time. It cannot be left to the next use: between, the guest may write a V register,
//! which zeroes the rest of the Z register that it is a part of, and nothing tells which ones it wrote.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};

use xenolith_hw::isb;

/// CPTR_EL2.TZ, which traps SVE of EL1 and EL0, and also takes it from EL2.
const TZ: u64 = 1 << 8;
/// ZCR_ELx.LEN for the longest vectors that there may be.
const LONGEST: u64 = 0xf;
/// Bits of a granule: vectors are this long, or a multiple.
const GRANULE_BYTES: usize = 16;
/// Of each granule of the vector length: 32 Z registers, and an eighth of that for 16 P registers and FFR each.
const REGISTER_BYTES: usize = 32 * GRANULE_BYTES + 17 * GRANULE_BYTES / 8;

/// The longest vectors that all CPUs have which have come up, in granules; 0: there is one without SVE. No CPU has come up
/// yet: more than there can be.
static VECTOR_GRANULES: AtomicU8 = AtomicU8::new(NOT_KNOWN);
const NOT_KNOWN: u8 = u8::MAX;

/// The longest vectors that guests can have on all CPUs, in units of 128 bits; 0 for no SVE.
pub fn vector_granules() -> u8 {
    match VECTOR_GRANULES.load(Ordering::Relaxed) {
        NOT_KNOWN => 0,
        granules => granules,
    }
}

/// Finds out what the calling CPU has.
pub fn init_cpu() {
    // ID_AA64PFR0_EL1.SVE.
    let granules = if read_sysreg!("id_aa64pfr0_el1") >> 32 & 0xf == 0 { 0 } else { longest() };
    VECTOR_GRANULES.fetch_min(granules, Ordering::Relaxed);
}

/// The length that the calling CPU makes of the longest one asked for.
fn longest() -> u8 {
    let cptr = read_sysreg!("cptr_el2");
    let bytes: u64;
    // SAFETY: EL2 uses neither the vectors nor their length; the trap is set again as it was.
    unsafe {
        write_sysreg!("cptr_el2", cptr & !TZ);
        isb();
        write_sysreg!("s3_4_c1_c2_0", LONGEST);
        isb();
        core::arch::asm!(".arch_extension sve", "rdvl {}, #1", out(reg) bytes, options(nomem, nostack));
        write_sysreg!("cptr_el2", cptr);
    }
    isb();
    u8::try_from(bytes / GRANULE_BYTES as u64).unwrap_or(0)
}

core::arch::global_asm!(
    r#"
    .arch_extension sve
    // x0: where the registers are kept, Z before P before FFR. x1: where FPCR and FPSR are.
    .macro each_vector, operation
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \operation z\number, [x0, #\number, mul vl]
    .endr
    .endm
    .macro each_predicate, operation
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \operation p\number, [x2, #\number, mul vl]
    .endr
    .endm
    .global save_sve
save_sve:
    rdvl    x2, #16
    add     x2, x0, x2, lsl #1
    each_vector str
    each_predicate str
    rdffr   p0.b
    str     p0, [x2, #16, mul vl]
    mrs     x2, fpcr
    mrs     x3, fpsr
    stp     x2, x3, [x1]
    ret
    .global load_sve
load_sve:
    rdvl    x2, #16
    add     x2, x0, x2, lsl #1
    ldr     p0, [x2, #16, mul vl]
    wrffr   p0.b
    each_predicate ldr
    each_vector ldr
    ldp     x2, x3, [x1]
    msr     fpcr, x2
    msr     fpsr, x3
    ret
"#
);

unsafe extern "C" {
    /// # Safety
    /// `registers` has room for [`REGISTER_BYTES`] of each granule that ZCR_EL2 allows, `control` for two words; SVE does not
    /// trap.
    unsafe fn save_sve(registers: *mut u128, control: *mut [u64; 2]);
    /// # Safety
    /// The same, readable; the registers belong to guests.
    unsafe fn load_sve(registers: *const u128, control: *const [u64; 2]);
}

/// SVE of a vCPU.
#[derive(Clone, Debug)]
pub(super) struct Sve {
    granules: u8,
    /// The vCPU has used it since its reset.
    is_used: bool,
    /// ZCR_EL1.
    control: u64,
    registers: Vec<u128>,
}

impl Sve {
    /// That of a vCPU which has not used it, with vectors of so many granules. `None`: no memory.
    pub fn new(granules: u8) -> Option<Sve> {
        let bytes = REGISTER_BYTES.saturating_mul(granules.into());
        let words = bytes.div_ceil(size_of::<u128>());
        let mut registers = Vec::new();
        registers.try_reserve_exact(words).ok()?;
        registers.resize(words, 0);
        Some(Sve { granules, is_used: false, control: 0, registers })
    }

    /// Forgets what the vCPU had in it.
    pub fn reset(&mut self) {
        (self.is_used, self.control) = (false, 0);
        self.registers.fill(0);
    }

    /// Whether all of it has to be switched.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// Lets the vCPU that runs here use it, with registers of which only V0 to V31 are not zero, and those have to be
    /// loaded after this; as FPCR and FPSR, which become `control`.
    pub fn begin(&mut self, control: &[u64; 2]) {
        self.is_used = true;
        self.load(control);
    }

    /// Takes the registers out of the calling CPU, and has SVE trap.
    pub fn save(&mut self, control: &mut [u64; 2]) {
        self.control = read_sysreg!("s3_0_c1_c2_0");
        // SAFETY: the vCPU runs here and has used SVE, so that it does not trap, with ZCR_EL2 as `load` set it; the vector has
        // room for that length.
        unsafe {
            save_sve(self.registers.as_mut_ptr(), control);
            write_sysreg!("cptr_el2", read_sysreg!("cptr_el2") | TZ);
        }
    }

    /// Puts the registers into the calling CPU, where SVE traps no more.
    pub fn load(&self, control: &[u64; 2]) {
        // SAFETY: EL2 uses none of it. The length is no more than all CPUs have, so the vector has as much as is read.
        unsafe {
            write_sysreg!("cptr_el2", read_sysreg!("cptr_el2") & !TZ);
            isb();
            write_sysreg!("s3_4_c1_c2_0", u64::from(self.granules).saturating_sub(1));
            write_sysreg!("s3_0_c1_c2_0", self.control);
            isb();
            load_sve(self.registers.as_ptr(), control);
        }
    }
}
