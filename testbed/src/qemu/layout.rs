//! Where the modules of a boot lie in the machine's memory, so that nothing overlaps.
//!
//! QEMU places the image itself 2 MiB above the start of RAM, and the device tree 128 MiB above it, or in the middle of
//! a smaller RAM (QEMU, hw/arm/boot.c). The modules follow.

use anyhow::{Result, bail};

/// The start of RAM on the `virt` board.
pub const RAM_BASE: u64 = 0x4000_0000;

const MIB: u64 = 1 << 20;
/// Room for the device tree that QEMU makes, well above its 1 MiB.
const TREE_ROOM: u64 = 16 * MIB;
/// Alignment of modules: that of Linux's `Image`.
const MODULE_ALIGN: u64 = 2 * MIB;

/// The addresses of the modules, in the order in which their sizes were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Machine addresses, 2 MiB aligned, ascending.
    pub addresses: Vec<u64>,
}

impl Layout {
    /// Places modules of the given sizes in bytes in a RAM of `memory_mib`.
    ///
    /// # Errors
    /// They do not fit.
    pub fn place(memory_mib: u64, sizes: &[u64]) -> Result<Layout> {
        let memory = memory_mib.saturating_mul(MIB);
        let tree = (memory / 2).min(128 * MIB);
        let mut next = RAM_BASE.saturating_add(tree).saturating_add(TREE_ROOM).next_multiple_of(MODULE_ALIGN);
        let mut addresses = Vec::new();
        for size in sizes {
            addresses.push(next);
            next = next.saturating_add(*size).next_multiple_of(MODULE_ALIGN);
        }
        if next > RAM_BASE.saturating_add(memory) {
            bail!("kernel and initramfs do not fit in {memory_mib} MiB of machine memory: raise --memory");
        }
        Ok(Layout { addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_machine() {
        let layout = Layout::place(2048, &[27 * MIB, 5 * MIB]).unwrap();
        assert_eq!(layout.addresses, [0x4900_0000, 0x4ac0_0000]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Layout::place(64, &[40 * MIB]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_overlaps(memory_mib in 16_u64..8192, sizes in prop::collection::vec(0..200 * MIB, 0..4)) {
            let Ok(layout) = Layout::place(memory_mib, &sizes) else { return Ok(()) };
            let tree = RAM_BASE + (memory_mib * MIB / 2).min(128 * MIB);
            let mut free_from = tree + 2 * MIB;
            for (address, size) in layout.addresses.iter().zip(&sizes) {
                prop_assert!(*address >= free_from && address % MODULE_ALIGN == 0);
                free_from = address + size;
            }
            prop_assert!(free_from <= RAM_BASE + memory_mib * MIB);
        }
    }
}
