//! Stage 2 as the AArch64 MMU reads it: descriptors (Arm ARM D8.3, stage 2 attributes), and the registers that select a
//! domain's tables (D8.2, VTCR_EL2, VTTBR_EL2).

use arm_sysregs::el2::registers::VtcrEl2;
use xenolith_core::types::{Mfn, PAGE_SHIFT, Pa};
use xenolith_memory::descriptor::Descriptor;
use xenolith_memory::p2m::{AddressSpace, Geometry, MapKind, Vmid};
use xenolith_memory::table::{BITS_PER_LEVEL, Level};

#[cfg(any(test, kani))]
mod proofs;
#[cfg(test)]
mod tests;

/// The VMSAv8-64 format for stage 2 with a granule of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Descriptor;

/// MemAttr for write-back memory on which stage 1 can only make stricter demands.
const NORMAL: u64 = 0b1111 << 2;
/// MemAttr for Device-nGnRE.
const DEVICE: u64 = 0b0001 << 2;
const READ: u64 = 0b01 << 6;
const WRITE: u64 = 0b10 << 6;
const OUTER_SHAREABLE: u64 = 0b10 << 8;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
/// XN[1]: with XN[0] clear, no execution at EL1 or EL0, on CPUs with FEAT_XNX and without.
const NEVER_EXECUTE: u64 = 1 << 54;
/// Bits 55 to 58 are left to software.
const KIND_SHIFT: u32 = 55;
const KIND_MASK: u64 = 0xf;
/// Bit 1 of a valid descriptor: a table at levels 0 to 2, a page at level 3. Without it: a block.
const TABLE_OR_PAGE: u64 = 1 << 1;

impl Descriptor for Stage2Descriptor {
    const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
    const VALID: u64 = 1 << 0;
    const TABLE_MASK: u64 = Self::VALID | TABLE_OR_PAGE;
    const TABLE: u64 = Self::VALID | TABLE_OR_PAGE;
    const BLOCK: u64 = Self::VALID;
    const PAGE: u64 = Self::VALID | TABLE_OR_PAGE;

    fn attributes(kind: MapKind) -> u64 {
        let memory = match kind {
            MapKind::Device => NORMAL | OUTER_SHAREABLE,
            MapKind::StrictDevice => DEVICE | OUTER_SHAREABLE,
            _ => NORMAL | INNER_SHAREABLE,
        };
        let write = if kind.writable() { WRITE } else { 0 };
        let execute = if kind.executable() { 0 } else { NEVER_EXECUTE };
        memory | READ | write | execute | ACCESSED | kind.number() << KIND_SHIFT
    }

    fn kind(word: u64) -> MapKind {
        MapKind::from_number(word >> KIND_SHIFT & KIND_MASK).unwrap_or(MapKind::StrictDevice)
    }
}

/// The most guest physical address bits: 52 need another descriptor format.
pub const MAX_BITS: u32 = 48;
/// From this many bits of physical address on, a walk may begin at level 0.
const LEVEL_0_FROM: u32 = 44;
/// Address bits that a walk from one level-1 table resolves.
const LEVEL_1_BITS: u32 = PAGE_SHIFT + 3 * BITS_PER_LEVEL;

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

/// The shape of stage 2 for a CPU with this many physical address bits: guests get as many, 48 at most. `None` when
/// ID_AA64MMFR0_EL1.PARange has no such size.
pub const fn geometry(physical_bits: u32) -> Option<Geometry> {
    let bits = match physical_bits {
        32 | 36 | 40 | 42 | 44 | 48 => physical_bits,
        52 | 56 => MAX_BITS,
        _ => return None,
    };
    // Up to 16 tables in a row stand for 4 address bits, which spares a level where they suffice.
    if bits >= LEVEL_0_FROM {
        Geometry::new(bits, Level::L0, 0)
    } else {
        Geometry::new(bits, Level::L1, bits.saturating_sub(LEVEL_1_BITS) as u8)
    }
}

/// VTCR_EL2: walks are cacheable and inner shareable, so that table writes need no cache maintenance. `vmid16`:
/// ID_AA64MMFR1_EL1.VMIDBits says 16.
pub const fn vtcr(geometry: Geometry, vmid16: bool) -> u64 {
    const WRITE_BACK: u64 = 0b01;
    const INNER_SHAREABLE: u64 = 0b11;
    let t0sz = 64 - geometry.bits() as u64;
    // SL0 counts downwards for this granule: 1 is level 1, 2 is level 0.
    let sl0 = 2 - geometry.level().number() as u64;
    let physical_size = match geometry.bits() {
        ..36 => 0,
        36..40 => 1,
        40..42 => 2,
        42..44 => 3,
        44..48 => 4,
        48.. => 5,
    };
    VtcrEl2::RES1.bits()
        | (vmid16 as u64) << VtcrEl2::VS_SHIFT
        | physical_size << VtcrEl2::PS_SHIFT
        | INNER_SHAREABLE << VtcrEl2::SH0_SHIFT
        | WRITE_BACK << VtcrEl2::ORGN0_SHIFT
        | WRITE_BACK << VtcrEl2::IRGN0_SHIFT
        | sl0 << VtcrEl2::SL0_SHIFT
        | t0sz
}

/// The registers that select a domain's stage 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    /// VTTBR_EL2: root table and VMID.
    pub vttbr: Vttbr,
    /// VTCR_EL2.
    pub vtcr: u64,
}

/// The value of VTTBR_EL2 for a domain: where its walks begin, and its VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vttbr(pub u64);

impl Vttbr {
    /// The value that selects these tables.
    pub const fn new(space: AddressSpace) -> Self {
        Vttbr((space.vmid.0 as u64) << 48 | space.root.base().0)
    }

    /// Where walks begin, and what TLB entries are marked with.
    pub const fn space(self) -> AddressSpace {
        let root: Mfn = Pa(self.0 & Stage2Descriptor::ADDRESS).frame();
        AddressSpace { root, vmid: Vmid((self.0 >> 48) as u16) }
    }
}
