//! A GIC as its guest finds it, described once: the device tree shows it, the vGIC answers at it, and a domain's layout
//! keeps everything else away from it.
//!
//! It says which frames software finds and where. What only a hypervisor uses of the machine's own GIC is no part of it.

use core::iter;
use core::ops::Deref;

use xenolith_abi::domctl::GicVersion;

use crate::{Region, layout};

/// The most regions of redistributors: a GICv3 needs one, and one for each socket of a large machine.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 8;

/// An interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// Version 2.
    V2 {
        /// GICD, the distributor's registers.
        distributor: Region,
        /// GICC, the CPU interface's registers.
        cpu: Region,
    },
    /// Version 3, or a later one used as such.
    V3 {
        /// GICD, the distributor's registers.
        distributor: Region,
        /// GICR, the redistributors' registers.
        redistributors: Redistributors,
    },
}

impl Gic {
    /// A GICv2 where Xen has it.
    pub const GUEST_V2: Gic = Gic::V2 { distributor: layout::GICV2_DISTRIBUTOR, cpu: layout::GICV2_CPU };
    /// A GICv3 where Xen has it.
    pub const GUEST_V3: Gic = Gic::V3 {
        distributor: layout::GICV3_DISTRIBUTOR,
        redistributors: Redistributors::one(layout::GICV3_REDISTRIBUTORS),
    };

    /// A GIC of this version where Xen has it.
    pub const fn guest(version: GicVersion) -> Gic {
        match version {
            GicVersion::V2 => Gic::GUEST_V2,
            GicVersion::V3 => Gic::GUEST_V3,
        }
    }

    /// Its version.
    pub const fn version(&self) -> GicVersion {
        match self {
            Gic::V2 { .. } => GicVersion::V2,
            Gic::V3 { .. } => GicVersion::V3,
        }
    }

    /// GICD.
    pub const fn distributor(&self) -> Region {
        match *self {
            Gic::V2 { distributor, .. } | Gic::V3 { distributor, .. } => distributor,
        }
    }

    /// GICR; none in version 2.
    pub fn redistributors(&self) -> &[Region] {
        match self {
            Gic::V2 { .. } => &[],
            Gic::V3 { redistributors, .. } => redistributors,
        }
    }

    /// All its registers, in the order in which a device tree lists them.
    pub fn regions(&self) -> impl Iterator<Item = Region> {
        let others = match self {
            Gic::V2 { cpu, .. } => core::slice::from_ref(cpu),
            Gic::V3 { redistributors, .. } => redistributors,
        };
        iter::once(self.distributor()).chain(others.iter().copied())
    }

    /// The most vCPUs that it serves.
    pub fn max_vcpus(&self) -> u16 {
        match self {
            Gic::V2 { .. } => layout::MAX_VCPUS_GICV2,
            Gic::V3 { redistributors, .. } => {
                let room = |region: &Region| region.size / layout::REDISTRIBUTOR_SIZE;
                let room = redistributors.iter().map(room).fold(0u64, u64::saturating_add);
                u16::try_from(room).unwrap_or(u16::MAX).min(layout::MAX_VCPUS_GICV3)
            }
        }
    }
}

/// The regions that hold a GICv3's redistributors. vCPUs fill them in order, [`layout::REDISTRIBUTOR_SIZE`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redistributors {
    /// Those behind `count` are empty.
    regions: [Region; MAX_REDISTRIBUTOR_REGIONS],
    count: usize,
}

impl Redistributors {
    /// One region with all of them.
    pub const fn one(region: Region) -> Redistributors {
        let mut regions = [Region::new(0, 0); MAX_REDISTRIBUTOR_REGIONS];
        regions[0] = region;
        Redistributors { regions, count: 1 }
    }

    /// These regions; `None` if they are more than [`MAX_REDISTRIBUTOR_REGIONS`].
    pub fn new(all: &[Region]) -> Option<Redistributors> {
        let mut regions = [Region::default(); MAX_REDISTRIBUTOR_REGIONS];
        regions.get_mut(..all.len())?.copy_from_slice(all);
        Some(Redistributors { regions, count: all.len() })
    }
}

impl Deref for Redistributors {
    type Target = [Region];

    fn deref(&self) -> &[Region] {
        self.regions.get(..self.count).unwrap_or(&self.regions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_version_and_its_place_belong_together() {
        for &version in GicVersion::ALL {
            assert_eq!(Gic::guest(version).version(), version);
        }
        let regions = |gic: Gic| gic.regions().collect::<Vec<_>>();
        assert_eq!(regions(Gic::GUEST_V2), [layout::GICV2_DISTRIBUTOR, layout::GICV2_CPU]);
        assert_eq!(regions(Gic::GUEST_V3), [layout::GICV3_DISTRIBUTOR, layout::GICV3_REDISTRIBUTORS]);
    }

    #[test]
    fn vcpus_are_as_many_as_have_a_redistributor() {
        assert_eq!((Gic::GUEST_V2.max_vcpus(), Gic::GUEST_V3.max_vcpus()), (8, 128));
        let with = |regions: &[Region]| Gic::V3 {
            distributor: layout::GICV3_DISTRIBUTOR,
            redistributors: Redistributors::new(regions).unwrap(),
        };
        // What is left over in a region is no half of a redistributor.
        let regions = [Region::new(0, 0x5_0000), Region::new(0x10_0000, 0x3_ffff)];
        assert_eq!(with(&regions).max_vcpus(), 3);
        assert_eq!(with(&[]).max_vcpus(), 0);
        assert_eq!(with(&[Region::new(0, u64::MAX); 8]).max_vcpus(), 128);
    }

    #[test]
    fn there_is_room_for_eight_regions() {
        let region = Region::new(0x1000, 0x2_0000);
        assert_eq!(Redistributors::new(&[region; 8]).unwrap().len(), 8);
        assert_eq!(Redistributors::new(&[region; 9]), None);
        assert_eq!(Redistributors::new(&[region]), Some(Redistributors::one(region)));
    }
}
