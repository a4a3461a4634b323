//! Flushing a domain's translations.

use xenolith_core::types::Ipa;
use xenolith_hw::{dsb, isb};
use xenolith_isa::regime;
use xenolith_isa::stage2::{Stage2Descriptor, Vttbr};
use xenolith_memory::p2m::{AddressSpace, Depth, Tlb};

use super::errata::complete_tlbi;
use super::regime::El1;

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
    let held = if other { regime::hold(&mut El1) } else { None };
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
    regime::release(&mut El1, held);
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
