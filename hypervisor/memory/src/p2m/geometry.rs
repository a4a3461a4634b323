//! The shape of a stage-2 walk. Granule 4 KiB throughout.

use crate::table::{BITS_PER_LEVEL, Level};
use xenolith_core::types::{Gfn, Mfn, PAGE_SHIFT};

/// log2 of the most tables in a row that a walk can begin in.
const MAX_ROOT_ORDER: u8 = 4;

/// How guest physical addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    bits: u32,
    level: Level,
    root_order: u8,
}

impl Geometry {
    /// Guest addresses of `bits` bits, translated from 2^`root_order` tables of `level` in a row. `None` when these do not
    /// reach so far, or are more than 16.
    pub const fn new(bits: u32, level: Level, root_order: u8) -> Option<Self> {
        let reach = PAGE_SHIFT + level.order() + BITS_PER_LEVEL + root_order as u32;
        if bits < PAGE_SHIFT || bits > reach || root_order > MAX_ROOT_ORDER {
            return None;
        }
        Some(Geometry { bits, level, root_order })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_reaches_all_addresses_or_is_refused() {
        assert!(Geometry::new(39, Level::L1, 0).is_some());
        assert_eq!(Geometry::new(40, Level::L1, 0), None);
        assert!(Geometry::new(43, Level::L1, 4).is_some());
        assert_eq!(Geometry::new(44, Level::L1, 5), None);
        assert!(Geometry::new(48, Level::L0, 0).is_some());
        assert_eq!(Geometry::new(11, Level::L0, 0), None);
    }
}
