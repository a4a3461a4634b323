//! Loading a domain's stage 2, flushing its translations, and asking the MMU what a guest's pointer means.

use core::sync::atomic::AtomicU64;

use arm_sysregs::el2::registers::HcrEl2;
use xenolith_core::types::{Gva, Ipa, PAGE_SIZE};
use xenolith_isa::controls::{GUEST_HCR, HCR_OF_CPU};
use xenolith_isa::stage2::{Stage2Descriptor, Vttbr};
use xenolith_memory::p2m::{AddressSpace, Depth, Tlb};

use super::errata::complete_tlbi;
use xenolith_hw::{dsb, isb};

use super::exception_table::ex_table;

/// The registers that select a domain's stage 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    /// VTTBR_EL2: root table and VMID.
    pub vttbr: Vttbr,
    /// VTCR_EL2.
    pub vtcr: u64,
}

/// VTTBR_EL2.VMID.
const VMID: u64 = 0xffff << 48;

/// WFE traps.
const HCR_TWE: u64 = HcrEl2::TWE.bits();

/// Makes EL1 and EL0 of this CPU run under a domain's stage 2.
pub fn activate_stage2(stage2: Stage2) {
    let of_cpu = read_sysreg!("hcr_el2") & HCR_OF_CPU;
    // SAFETY: affects guests only; EL2 has its own tables.
    unsafe {
        write_sysreg!("vtcr_el2", stage2.vtcr);
        write_sysreg!("vttbr_el2", stage2.vttbr.0);
        write_sysreg!("hcr_el2", GUEST_HCR.bits() | of_cpu);
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
    let vmid = read_sysreg!("vttbr_el2") & VMID;
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

/// The hardware's TLBs.
#[derive(Clone, Copy, Debug, Default)]
pub struct HardwareTlb;

/// Runs `flush` with the TLB operations meaning the VMID of `space`.
///
/// They mean the VMID in VTTBR_EL2, of which the whole is loaded: a CPU that walks ahead of its program must find that
/// domain's own tables with that VMID.
fn under(space: AddressSpace, flush: impl FnOnce()) {
    let space = Vttbr::new(space);
    let current = read_sysreg!("vttbr_el2");
    let other = current != space.0;
    if other {
        // SAFETY: no guest runs on this CPU before the register is restored, and a walk ahead of one finds the tables
        // that belong to the VMID.
        unsafe { write_sysreg!("vttbr_el2", space.0) };
        isb();
    }
    // Walks of all CPUs must see the changed descriptors before old translations go, or they would come back.
    dsb();
    flush();
    // The invalidation is complete only behind this (Arm ARM, TLB maintenance instructions).
    dsb();
    complete_tlbi();
    isb();
    if other {
        // SAFETY: restores what was there.
        unsafe { write_sysreg!("vttbr_el2", current) };
        isb();
    }
}

impl Tlb for HardwareTlb {
    type Format = Stage2Descriptor;

    fn publish(&self) {
        dsb();
        isb();
    }

    fn flush_addresses(&self, space: AddressSpace, addresses: &[Ipa], depth: Depth) {
        under(space, || {
            for address in addresses {
                let page = address.frame().0 & 0xf_ffff_ffff;
                // SAFETY: dropping cached translations changes none.
                unsafe {
                    match depth {
                        Depth::Leaves => {
                            core::arch::asm!("tlbi ipas2le1is, {}", in(reg) page, options(nostack, preserves_flags));
                        }
                        Depth::AllLevels => {
                            core::arch::asm!("tlbi ipas2e1is, {}", in(reg) page, options(nostack, preserves_flags));
                        }
                    }
                }
            }
            // The operations by IPA are complete before the next one, or a translation of both stages could be made
            // anew from one of stage 2 that is still there.
            dsb();
            // Translations that combine both stages are not found by IPA (Arm ARM D8.16.5).
            // SAFETY: as above.
            unsafe { core::arch::asm!("tlbi vmalle1is", options(nostack, preserves_flags)) };
        });
    }

    fn flush_all(&self, space: AddressSpace) {
        // SAFETY: as above.
        under(space, || unsafe { core::arch::asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) });
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
