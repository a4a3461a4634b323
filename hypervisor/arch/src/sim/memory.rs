//! Stage 2, TLBs, caches, and the guest's own tables: a virtual address is the guest physical one, unless the test
//! says that the page is not mapped.

use xenolith_core::types::{Gva, Ipa, PAGE_SHIFT};
use xenolith_isa::regime::{hold, release};
use xenolith_isa::stage2::Stage2Descriptor;
use xenolith_memory::frames::{Scrub, ZeroAndClean};
use xenolith_memory::p2m::{AddressSpace, Depth, Tlb};
use xenolith_memory::page::Page;

use super::machine::{Machine, with};

pub use super::machine::Flushes;

/// The address bits that a guest's tables translate.
const VIRTUAL_BITS: u32 = 48;

/// Makes this CPU know no domain's stage 2.
pub fn deactivate_stage2() {
    with(|machine| machine.cpu().stage2 = None);
}

/// Says whether WFE traps; the test's guest decides for itself when it traps.
pub fn trap_wait_for_event(_trap: bool) {}

/// What the guest's tables make of a virtual address.
pub fn translate(address: Gva, _write: bool) -> Option<Ipa> {
    let mapped = with(|machine| !machine.unmapped.contains(&(address.0 >> PAGE_SHIFT)));
    (mapped && address.0 >> VIRTUAL_BITS == 0).then_some(Ipa(address.0))
}

/// Takes the page of an address out of the guests' tables.
pub fn unmap(address: Gva) {
    with(|machine| machine.unmapped.insert(address.0 >> PAGE_SHIFT));
}

/// Puts all pages back into the guests' tables.
pub fn map_again() {
    with(|machine| machine.unmapped.clear());
}

/// Makes instructions written to memory visible to fetches, of which there are none here. It is counted.
pub fn sync_instructions() {
    with(|machine| machine.instruction_syncs += 1);
}

/// How often all CPUs have dropped their instructions since the machine was switched on.
pub fn instruction_syncs() -> u64 {
    with(|machine| machine.instruction_syncs)
}

/// Wipes frames as the hardware's hypervisor does, with the model's instruction caches.
pub struct Wipe;

impl Scrub for Wipe {
    fn scrub(&self, page: Page) {
        ZeroAndClean.scrub(page);
    }

    fn forget_instructions(&self) {
        sync_instructions();
    }
}

/// What the TLBs were told since the machine was switched on.
pub fn flushes() -> Flushes {
    with(|machine| machine.flushes)
}

/// The TLBs. They hold nothing, but count.
#[derive(Clone, Copy, Debug, Default)]
pub struct HardwareTlb;

impl Tlb for HardwareTlb {
    type Format = Stage2Descriptor;

    fn publish(&self) {}

    fn flush_addresses(&self, space: AddressSpace, addresses: &[Ipa], _depth: Depth) {
        with(|machine| {
            machine.flushes.addresses += addresses.len() as u64;
            machine.flush(space);
        });
    }

    fn flush_all(&self, space: AddressSpace) {
        with(|machine| {
            machine.flushes.all += 1;
            machine.flush(space);
        });
    }
}

impl Machine {
    /// Flushes what belongs to a domain, which has this CPU know its VMID meanwhile.
    fn flush(&mut self, space: AddressSpace) {
        let (current, walks) = (self.cpu().vmid, self.cpu().stage2.is_some());
        if current != space.vmid.0 {
            let mut cpu = self.regime(None);
            let held = hold(&mut cpu);
            cpu.set_vmid(space.vmid.0, true);
            cpu.set_vmid(current, walks);
            release(&mut cpu, held);
        }
        self.invalidate();
    }
}
