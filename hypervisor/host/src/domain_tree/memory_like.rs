//! Which addresses of the machine's devices are memory: there the hardware domain may choose the memory type itself, as a
//! framebuffer in a PCI window is written through a write-combining mapping, and reserved RAM is cached. All else is
//! registers, which stage 2 makes strict device memory whatever stage 1 says: a cached or speculative access has effects
//! on a device that nobody can answer for.

use alloc::vec::Vec;

use crate::platform::Region;
use crate::platform::tree::Place;

/// Devices whose `reg` is memory (Linux device-tree bindings `sram/sram.yaml`, `pmem/pmem-region.yaml`,
/// `display/simple-framebuffer.yaml`, `mtd/mtd-physmap.yaml`).
const KINDS: [&str; 6] =
    ["mmio-sram", "arm,scmi-shmem", "pmem-region", "simple-framebuffer", "mtd-ram", "atmel,sama5d2-securam"];

/// The parts of the node's registers that are memory.
pub fn of<'a>(place: &Place<'a, '_>) -> Vec<Region> {
    let is_reserved_memory = || place.parent().is_some_and(|parent| parent.path() == "/reserved-memory");
    if place.is_compatible(&KINDS) || is_reserved_memory() {
        return place.regions().flatten().collect();
    }
    if place.text("device_type") == Some("pci") {
        place.memory_windows().flatten().collect()
    } else {
        Vec::new()
    }
}
