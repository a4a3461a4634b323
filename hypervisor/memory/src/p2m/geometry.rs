//! The shape of a stage-2 walk and the register values that tell it to the hardware (Arm ARM D8.2, VTCR_EL2,
//! VTTBR_EL2). Granule 4 KiB throughout.

use super::{Vmid, Vttbr};
use crate::table::{BITS_PER_LEVEL, Level};
use xenolith_core::types::{Gfn, Mfn, PAGE_SHIFT};

/// The most guest physical address bits: 52 need another descriptor format.
pub const MAX_BITS: u32 = 48;
/// From this many bits of physical address on, a walk may begin at level 0.
const LEVEL_0_FROM: u32 = 44;
/// Address bits that a walk from one level-1 table resolves.
const LEVEL_1_BITS: u32 = PAGE_SHIFT + 3 * BITS_PER_LEVEL;

/// How guest physical addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    bits: u32,
    level: Level,
    root_order: u8,
    size_field: u64,
}

impl Geometry {
    /// The shape for a CPU with this many physical address bits: guests get as many, 48 at most. `None` when
    /// ID_AA64MMFR0_EL1.PARange has no such size.
    pub const fn for_physical(bits: u32) -> Option<Self> {
        let (bits, size_field) = match bits {
            32 => (32, 0),
            36 => (36, 1),
            40 => (40, 2),
            42 => (42, 3),
            44 => (44, 4),
            48 | 52 | 56 => (MAX_BITS, 5),
            _ => return None,
        };
        // Up to 16 tables in a row stand for 4 address bits, which spares a level where they suffice.
        Some(if bits >= LEVEL_0_FROM {
            Geometry { bits, level: Level::L0, root_order: 0, size_field }
        } else {
            let root_order = bits.saturating_sub(LEVEL_1_BITS) as u8;
            Geometry { bits, level: Level::L1, root_order, size_field }
        })
    }

    /// The physical address bits that ID_AA64MMFR0_EL1.PARange stands for.
    pub const fn physical_bits(pa_range: u64) -> Option<u32> {
        Some(match pa_range & 0xf {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            5 => 48,
            6 => 52,
            7 => 56,
            _ => return None,
        })
    }

    /// Guest physical address bits, which is what `gpaddr_bits` of a domain's information reports.
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// The first guest frame that cannot be mapped.
    pub const fn end(self) -> Gfn {
        Gfn(1 << (self.bits - PAGE_SHIFT))
    }

    /// The first machine frame that a descriptor cannot name on this CPU.
    pub const fn machine_end(self) -> Mfn {
        Mfn(1 << (self.bits - PAGE_SHIFT))
    }

    /// The level that a walk begins at.
    pub const fn level(self) -> Level {
        self.level
    }

    /// log2 of the number of tables in a row that a walk begins in.
    pub const fn root_order(self) -> u8 {
        self.root_order
    }

    /// VTCR_EL2: walks are cacheable and inner shareable, so that table writes need no cache maintenance. `vmid16`:
    /// ID_AA64MMFR1_EL1.VMIDBits says 16.
    pub const fn vtcr(self, vmid16: bool) -> u64 {
        const RES1: u64 = 1 << 31;
        const WRITE_BACK: u64 = 0b01;
        const INNER_SHAREABLE: u64 = 0b11;
        let t0sz = 64 - self.bits as u64;
        // SL0 counts downwards for this granule: 1 is level 1, 2 is level 0.
        let sl0 = 2 - self.level.number() as u64;
        RES1 | (vmid16 as u64) << 19
            | self.size_field << 16
            | INNER_SHAREABLE << 12
            | WRITE_BACK << 10
            | WRITE_BACK << 8
            | sl0 << 6
            | t0sz
    }

    /// VTTBR_EL2 for tables that begin at `root`.
    pub const fn vttbr(self, root: Mfn, vmid: Vmid) -> Vttbr {
        Vttbr((vmid.0 as u64) << 48 | root.base().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_physical_address_size_has_the_shape_that_the_architecture_allows() {
        // PARange, guest bits, T0SZ, SL0, tables in a row, VTCR_EL2 with 8-bit VMIDs.
        let rows = [
            (0, 32, 32, 1, 1, 0x8000_3560),
            (1, 36, 28, 1, 1, 0x8001_355c),
            (2, 40, 24, 1, 2, 0x8002_3558),
            (3, 42, 22, 1, 8, 0x8003_3556),
            (4, 44, 20, 2, 1, 0x8004_3594),
            (5, 48, 16, 2, 1, 0x8005_3590),
            (6, 48, 16, 2, 1, 0x8005_3590),
            (7, 48, 16, 2, 1, 0x8005_3590),
        ];
        for (range, bits, t0sz, sl0, tables, vtcr) in rows {
            let geometry = Geometry::for_physical(Geometry::physical_bits(range).unwrap()).unwrap();
            assert_eq!(geometry.bits(), bits);
            assert_eq!(geometry.vtcr(false) & 0x3f, t0sz);
            assert_eq!(geometry.vtcr(false) >> 6 & 3, sl0);
            assert_eq!(1 << geometry.root_order(), tables);
            assert_eq!(geometry.vtcr(false), vtcr, "PARange {range}");
            assert_eq!(geometry.vtcr(true), vtcr | 1 << 19);
            // The tables reach exactly the guest's addresses, or the root is partly unused.
            let reach = geometry.level().slot_pages() * 512 * tables;
            assert!(reach >= geometry.end().0);
            assert!(tables == 1 || reach == geometry.end().0);
        }
        assert_eq!(Geometry::physical_bits(8), None);
        assert_eq!(Geometry::for_physical(41), None);
    }

    #[test]
    fn the_base_register_names_the_root_and_the_vmid() {
        let geometry = Geometry::for_physical(40).unwrap();
        let vttbr = geometry.vttbr(Mfn(0x12346), Vmid(0xabcd));
        assert_eq!(vttbr, Vttbr(0xabcd_0000_1234_6000));
        assert_eq!(vttbr.vmid(), Vmid(0xabcd));
    }
}
