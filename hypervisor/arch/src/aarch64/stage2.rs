//! Loading a domain's stage 2, and asking the MMU what a guest's pointer means.

use core::sync::atomic::AtomicU64;

use arm_sysregs::el2::registers::HcrEl2;
use xenolith_core::types::{Gva, Ipa, PAGE_SIZE};
use xenolith_hw::isb;
use xenolith_isa::stage2::Stage2;

use super::exception_table::ex_table;

/// VTTBR_EL2.VMID.
const VMID: u64 = 0xffff << 48;

/// WFE traps.
const HCR_TWE: u64 = HcrEl2::TWE.bits();

/// Makes EL1 and EL0 of this CPU run under a domain's stage 2. What HCR_EL2 says of guests stands since the CPU's start.
#[inline(always)]
pub(super) fn activate(stage2: Stage2) {
    // SAFETY: affects guests only; EL2 has its own tables.
    unsafe {
        write_sysreg!("vtcr_el2", stage2.vtcr);
        write_sysreg!("vttbr_el2", stage2.vttbr.0);
    }
    isb();
}

/// Tables for a CPU that runs no guest: nothing is mapped, whatever the shape of the walk. A walk begins in at most 8
/// tables here (`xenolith_isa::stage2`), aligned to their size. Nobody writes them; a constant would be 32 KiB of the image's file.
#[repr(C, align(32768))]
struct NoTables([AtomicU64; 4096]);

static NO_TABLES: NoTables = NoTables([const { AtomicU64::new(0) }; 4096]);

/// Makes this CPU know no domain's stage 2: also a CPU that runs no guest may walk the tables in VTTBR_EL2 ahead of its
/// program, and those of a domain that has left it may be taken apart.
///
/// The VMID stays: most often the same domain comes back, and a CPU may drop translations when the VMID changes. No
/// translation is made under it meanwhile, since every walk ends in a fault, which is not cached.
pub fn deactivate_stage2() {
    without_tables(read_sysreg!("vttbr_el2") & VMID);
}

/// Nor a VMID that a domain has (`xenolith_memory::p2m::vmid`), whatever reset has left.
pub(super) fn init_cpu() {
    without_tables(0);
}

fn without_tables(vmid: u64) {
    // EL2 maps its image at its own address.
    let nothing = core::ptr::from_ref(&NO_TABLES.0) as u64;
    // SAFETY: affects guests only, none of which runs here; the next one has its own tables loaded before.
    unsafe { write_sysreg!("vttbr_el2", vmid | nothing) };
    isb();
}

/// Says whether a guest on this CPU that waits for an event (WFE) gives the CPU away. It should when others wait for the
/// CPU; else the trap would only delay it.
pub fn trap_wait_for_event(trap: bool) {
    let current = read_sysreg!("hcr_el2");
    let wanted = if trap { current | HCR_TWE } else { current & !HCR_TWE };
    if wanted != current {
        // SAFETY: decides only what a guest may do.
        unsafe { write_sysreg!("hcr_el2", wanted) };
        isb();
    }
}

/// PAR_EL1.F: the translation failed.
const PAR_F: u64 = 1;

/// Translates an address by the guest's tables; returns PAR_EL1, or [`PAR_F`] if the walk met an external abort.
macro_rules! at {
    ($instruction:literal, $address:expr) => {{
        let result: u64;
        // SAFETY: the instruction only sets PAR_EL1, which is the guest's and which the caller puts back; so does its fix-up with
        // the two registers that the vectors have used.
        unsafe {
            core::arch::asm!(
                "mrs {tpidrro}, tpidrro_el0",
                "mrs {tpidr}, tpidr_el0",
                concat!("2: ", $instruction, ", {address}"),
                // Without this the result need not be in PAR_EL1 yet (Arm ARM, address translation instructions).
                "isb",
                "mrs {result}, par_el1",
                "3:",
                ".pushsection .text.fixup, \"ax\"",
                "4: msr tpidrro_el0, {tpidrro}",
                "msr tpidr_el0, {tpidr}",
                "mov {result}, {failed}",
                "b 3b",
                ".popsection",
                ex_table!("2b", "4b"),
                address = in(reg) $address.0,
                tpidrro = out(reg) _,
                tpidr = out(reg) _,
                result = out(reg) result,
                failed = const PAR_F,
                options(nostack, preserves_flags)
            );
        }
        result
    }};
}

/// What the running vCPU's own tables make of a virtual address; none when EL1 may not access it so, or when its tables
/// cannot be read.
pub fn translate(address: Gva, write: bool) -> Option<Ipa> {
    let saved = read_sysreg!("par_el1");
    let result = if write { at!("at s1e1w", address) } else { at!("at s1e1r", address) };
    // SAFETY: restores the guest's value.
    unsafe { write_sysreg!("par_el1", saved) };
    (result & PAR_F == 0).then_some(Ipa(result & 0xf_ffff_ffff_f000 | address.0 & (PAGE_SIZE - 1)))
}
