//! System errors: taking those of the machine at a moment that EL2 chooses, and giving them to a vCPU.
//!
//! The machine's own are masked at EL2, so one that a guest's access has caused stays pending until some guest is entered. A
//! guest's are virtual (HCR_EL2.VSE): the hardware delivers them when the guest's PSTATE.A lets it, in the way of the
//! architecture, and that they are still pending is a part of the vCPU's state.

use arm_sysregs::el2::registers::HcrEl2;
use xenolith_hw::{dsb, isb};
use xenolith_isa::system_error::SystemError;

use super::exception_table::ex_table;

const HCR_VSE: u64 = HcrEl2::VSE.bits();
/// ISR_EL1.A.
const PENDING: u64 = 1 << 8;

/// Whether the calling CPU has the RAS extension (ID_AA64PFR0_EL1.RAS).
#[inline]
fn has_ras() -> bool {
    read_sysreg!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

/// Completes all accesses made on this CPU, and takes the system error that is pending then.
pub fn take_system_error() -> Option<SystemError> {
    // What the memory system has not answered yet cannot be an error yet.
    dsb();
    if has_ras() {
        // SAFETY: ESB, which puts a masked error off into DISR_EL1.
        unsafe { core::arch::asm!("hint #16", options(nostack, preserves_flags)) };
        let error = SystemError::deferred(read_sysreg!("s3_0_c12_c1_1"))?;
        // SAFETY: DISR_EL1 is EL2's own while guests have VDISR_EL2 in its place (HCR_EL2.AMO).
        unsafe { write_sysreg!("s3_0_c12_c1_1", 0) };
        Some(error)
    } else {
        // ISR_EL1 could be read before the barrier is complete.
        isb();
        system_error_waits().then(let_in).flatten()
    }
}

/// Whether a system error of the machine is pending on this CPU, as far as it is known already.
#[inline]
pub fn system_error_waits() -> bool {
    read_sysreg!("isr_el1") & PENDING != 0
}

/// Unmasks system errors for an instruction, and returns the one that came.
#[cold]
#[inline(never)]
fn let_in() -> Option<SystemError> {
    let esr: u64;
    // SAFETY: the error is taken at one of the two instructions between which it is not masked, as the ISB synchronizes
    // context; both have the fix-up. It restores the registers that the vectors have used, and goes on with the error
    // masked again (`from_el2`).
    unsafe {
        core::arch::asm!(
            "mrs {tpidrro}, tpidrro_el0",
            "mrs {tpidr}, tpidr_el0",
            "mov {esr}, xzr",
            "msr daifclr, #4",
            "2: isb",
            "3: msr daifset, #4",
            "4:",
            ".pushsection .text.fixup, \"ax\"",
            "5: msr tpidrro_el0, {tpidrro}",
            "msr tpidr_el0, {tpidr}",
            "mrs {esr}, esr_el2",
            "b 4b",
            ".popsection",
            ex_table!("2b", "5b"),
            ex_table!("3b", "5b"),
            tpidrro = out(reg) _,
            tpidr = out(reg) _,
            esr = out(reg) esr,
            options(nostack, preserves_flags)
        );
    }
    (esr != 0).then(|| SystemError::of_syndrome(esr))
}

/// Makes a system error pending for the vCPU that runs on this CPU: it takes it as soon as its PSTATE.A lets it.
pub fn pend_system_error(error: SystemError) {
    // SAFETY: both are about guests only.
    unsafe {
        if has_ras() {
            write_sysreg!("s3_4_c5_c2_3", error.iss().into());
        }
        write_sysreg!("hcr_el2", read_sysreg!("hcr_el2") | HCR_VSE);
    }
}

/// The virtual system error of a vCPU that does not run.
#[derive(Clone, Debug, Default)]
pub(super) struct VirtualError {
    is_pending: bool,
    /// VSESR_EL2: the syndrome of the one that is pending.
    syndrome: u64,
    /// VDISR_EL2: what the guest's own error barrier has put off.
    deferred: u64,
}

impl VirtualError {
    /// Takes it from the CPU, where none is pending any more.
    #[inline]
    pub fn save(&mut self) {
        // The hardware clears it when the guest takes the error.
        let control = read_sysreg!("hcr_el2");
        self.is_pending = control & HCR_VSE != 0;
        if self.is_pending {
            // SAFETY: about guests only.
            unsafe { write_sysreg!("hcr_el2", control & !HCR_VSE) };
        }
        if has_ras() {
            self.syndrome = read_sysreg!("s3_4_c5_c2_3");
            self.deferred = read_sysreg!("s3_4_c12_c1_1");
        }
    }

    /// Puts it into the CPU, where none is pending.
    #[inline]
    pub fn load(&self) {
        // SAFETY: about guests only.
        unsafe {
            if has_ras() {
                write_sysreg!("s3_4_c5_c2_3", self.syndrome);
                write_sysreg!("s3_4_c12_c1_1", self.deferred);
            }
            if self.is_pending {
                write_sysreg!("hcr_el2", read_sysreg!("hcr_el2") | HCR_VSE);
            }
        }
    }
}
