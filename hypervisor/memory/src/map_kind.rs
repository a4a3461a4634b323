//! What a mapping is, and how its descriptor says so (Arm ARM D8.3, stage 2 attributes).

use crate::table::Leaf;
use xenolith_core::types::Mfn;

/// What a guest frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// The domain's own RAM.
    Ram,
    /// The domain's own RAM, which it may only read and execute.
    RamReadOnly,
    /// Another domain's RAM, mapped by privilege.
    Foreign,
    /// The same, from a source that its own domain may only read.
    ForeignReadOnly,
    /// Another domain's RAM, mapped by a grant.
    Grant,
    /// The same, by a grant for reading.
    GrantReadOnly,
    /// Device registers or memory of a device, where the guest's own stage 1 chooses the memory type.
    Device,
    /// Device registers that must never be accessed as memory, whatever stage 1 says.
    StrictDevice,
    /// A page that the hypervisor made for the domain: shared info, a grant table frame, an ioreq page.
    Shared,
    /// The same, which the domain may only read.
    SharedReadOnly,
    /// RAM that is another's or nobody's, and that the domain has in common with others from its start.
    StaticShm,
}

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

impl MapKind {
    /// All kinds. A kind's place is what the descriptor holds of it, less one.
    pub const ALL: [MapKind; 11] = [
        MapKind::Ram,
        MapKind::RamReadOnly,
        MapKind::Foreign,
        MapKind::ForeignReadOnly,
        MapKind::Grant,
        MapKind::GrantReadOnly,
        MapKind::Device,
        MapKind::StrictDevice,
        MapKind::Shared,
        MapKind::SharedReadOnly,
        MapKind::StaticShm,
    ];

    /// Whether the guest may write.
    pub const fn writable(self) -> bool {
        !matches!(
            self,
            MapKind::RamReadOnly
                | MapKind::ForeignReadOnly
                | MapKind::GrantReadOnly
                | MapKind::SharedReadOnly
        )
    }

    /// Whether the guest may execute: only its own RAM.
    pub const fn executable(self) -> bool {
        self.is_ram()
    }

    /// Whether it is the domain's own RAM.
    pub const fn is_ram(self) -> bool {
        matches!(self, MapKind::Ram | MapKind::RamReadOnly)
    }

    /// Whether it is a device, and not a frame that anyone counts references of.
    pub const fn is_device(self) -> bool {
        matches!(self, MapKind::Device | MapKind::StrictDevice)
    }

    fn attributes(self) -> u64 {
        let memory = match self {
            MapKind::Device => NORMAL | OUTER_SHAREABLE,
            MapKind::StrictDevice => DEVICE | OUTER_SHAREABLE,
            _ => NORMAL | INNER_SHAREABLE,
        };
        let write = if self.writable() { WRITE } else { 0 };
        let execute = if self.executable() { 0 } else { NEVER_EXECUTE };
        let place =
            Self::ALL.iter().zip(1_u64..).find(|(kind, _)| **kind == self).map_or(0, |(_, place)| place);
        memory | READ | write | execute | ACCESSED | place << KIND_SHIFT
    }

    /// The descriptor that maps the frames from `mfn`.
    pub(super) fn leaf(self, mfn: Mfn) -> Leaf {
        Leaf::new(mfn, self.attributes())
    }

    /// What a descriptor says that it maps. One that this module did not make counts as a strict device, which nobody
    /// touches or frees.
    pub(super) fn of(leaf: Leaf) -> Self {
        let place = leaf.attributes() >> KIND_SHIFT & KIND_MASK;
        Self::ALL
            .iter()
            .zip(1_u64..)
            .find(|&(_, known)| known == place)
            .map_or(MapKind::StrictDevice, |(&kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_in_the_descriptor() {
        for kind in MapKind::ALL {
            let leaf = kind.leaf(Mfn(0xf_1234_5678));
            assert_eq!(MapKind::of(leaf), kind);
            assert_eq!(leaf.mfn(), Mfn(0xf_1234_5678));
        }
    }

    #[test]
    fn permissions_and_types_are_those_that_linux_sees_under_xen() {
        // Descriptor bits without the software field: RAM, RAM read-only, foreign, grant read-only, device, strict.
        let rows = [
            (MapKind::Ram, 0x7fc),
            (MapKind::RamReadOnly, 0x77c),
            (MapKind::Foreign, 0x40_0000_0000_07fc),
            (MapKind::GrantReadOnly, 0x40_0000_0000_077c),
            (MapKind::Device, 0x40_0000_0000_06fc),
            (MapKind::StrictDevice, 0x40_0000_0000_06c4),
            (MapKind::Shared, 0x40_0000_0000_07fc),
            (MapKind::StaticShm, 0x40_0000_0000_07fc),
        ];
        for (kind, bits) in rows {
            assert_eq!(kind.attributes() & !(KIND_MASK << KIND_SHIFT), bits, "{kind:?}");
        }
    }

    #[test]
    fn only_own_ram_is_executable() {
        for kind in MapKind::ALL {
            assert_eq!(kind.attributes() & NEVER_EXECUTE == 0, kind.is_ram());
        }
    }
}
