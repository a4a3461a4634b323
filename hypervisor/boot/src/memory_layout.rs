//! Who has which part of RAM when the hypervisor takes charge of it.

use alloc::vec::Vec;
use core::fmt;

use xenolith_core::types::{PAGE_SHIFT, PAGE_SIZE, Pa};
use xenolith_host::platform::{BootDomain, Platform, Region, subtract};
use xenolith_memory::frames::{FrameRange, StorageNeeded, storage_needed};

/// The banks of RAM, what of them is in use, and room for the table of frames. It is only made from what the platform says, so
/// that who has one need not doubt it: the room is RAM in nobody's use, and all that is in use is reserved.
#[derive(Debug)]
pub struct MemoryLayout {
    banks: Vec<FrameRange>,
    reserved: Vec<FrameRange>,
    storage: (Pa, StorageNeeded),
}

/// There is no room for the table of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    bytes: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} bytes of RAM in a row for the table of frames", self.bytes)
    }
}

impl MemoryLayout {
    /// The layout of a machine, with the hypervisor's image and the device tree where they are. Static shared memory
    /// at fixed places is free, and stays so.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: no part of RAM that is free is large enough for the table of frames.
    pub fn new(platform: &Platform, image: Region, device_tree: Region) -> Result<Self, NoRoom> {
        let mut reserved = permanent(platform, image);
        reserved.extend(passing(platform, device_tree));
        let banks: Vec<FrameRange> = platform.memory.iter().map(frame_range).collect();
        let needed = storage_needed(&banks);
        let bytes = (needed.bytes() as u64).next_multiple_of(PAGE_SIZE);
        let placed = platform.common_memory().filter_map(|memory| memory.machine);
        let in_use: Vec<Region> = reserved.iter().copied().chain(placed).collect();
        let room = subtract(&platform.memory, &in_use);
        // The highest: what is free below stays in larger pieces.
        let place = room.iter().rev().find(|region| region.size() >= bytes);
        let place = place.and_then(|region| Region::between(region.end().0 - bytes, region.end().0));
        let place = place.ok_or(NoRoom { bytes })?;
        reserved.push(place);
        let reserved = reserved.iter().map(frame_range).collect();
        Ok(MemoryLayout { banks, reserved, storage: (place.start(), needed) })
    }

    /// All RAM.
    pub fn banks(&self) -> &[FrameRange] {
        &self.banks
    }

    /// What is not to be given to anyone. Ranges may overlap, and lie outside of RAM.
    pub fn reserved(&self) -> &[FrameRange] {
        &self.reserved
    }

    /// Where the table of frames is to be, at a page's start, and how large it is.
    pub fn storage(&self) -> (Pa, StorageNeeded) {
        self.storage
    }
}

/// What is reserved until the domains are built, and for nothing else: the device tree and the modules.
pub fn reclaimable(platform: &Platform, image: Region, device_tree: Region) -> Vec<FrameRange> {
    let passing: Vec<Region> = passing(platform, device_tree).collect();
    subtract(&passing, &permanent(platform, image)).iter().map(frame_range).collect()
}

/// What must never be overwritten: the hypervisor, and what the firmware keeps.
fn permanent(platform: &Platform, image: Region) -> Vec<Region> {
    core::iter::once(image).chain(platform.reserved.iter().copied()).map(Region::to_pages).collect()
}

/// What is needed until the domains are built.
fn passing(platform: &Platform, device_tree: Region) -> impl Iterator<Item = Region> {
    let of_domains = platform.sound_boot_domains().flat_map(BootDomain::modules);
    let modules = platform.modules.iter().chain(of_domains).map(|module| module.region);
    modules.chain(platform.initrd).chain([device_tree]).map(Region::to_pages)
}

fn frame_range(region: &Region) -> FrameRange {
    let region = region.to_pages();
    FrameRange { first: region.start().frame(), pages: region.size() >> PAGE_SHIFT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xenolith_host::platform::fixtures::domains::{boot_domain, first_shared_memory, host};
    use xenolith_host::platform::fixtures::{GICV2, GICV3, edited};

    const MIB: u64 = 1 << 20;

    fn region(start: u64, bytes: u64) -> Region {
        Region::between(start, start + bytes).unwrap()
    }

    fn covers(ranges: &[FrameRange], of: Region) -> bool {
        let pages = frame_range(&of);
        (pages.first.0..pages.end())
            .all(|mfn| ranges.iter().any(|range| range.contains(xenolith_core::types::Mfn(mfn))))
    }

    fn apart(one: FrameRange, other: FrameRange) -> bool {
        one.end() <= other.first.0 || other.end() <= one.first.0
    }

    /// The pages for the table of frames.
    fn table(layout: &MemoryLayout) -> FrameRange {
        let (start, needed) = layout.storage();
        FrameRange { first: start.frame(), pages: (needed.bytes() as u64).div_ceil(PAGE_SIZE) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Wherever the boot loader puts image and tree.
        #[test]
        fn the_table_has_room_of_its_own(image in 0u64..900, tree in 0u64..900, v3 in any::<bool>()) {
            let platform = Platform::parse(if v3 { GICV3 } else { GICV2 }).unwrap();
            let start = platform.memory[0].start().0;
            let image = region(start + image * MIB, 3 * MIB);
            let tree = region(start + tree * MIB + 8, 70_001);
            let layout = MemoryLayout::new(&platform, image, tree).unwrap();
            let table = table(&layout);
            prop_assert!(covers(layout.banks(), Region::between(table.first.base().0, table.end() << PAGE_SHIFT).unwrap()));
            let others = layout.reserved().iter().filter(|range| **range != table);
            prop_assert!(others.clone().all(|range| apart(*range, table)), "{layout:x?}");
            let modules = platform.modules.iter().map(|module| module.region);
            for used in modules.chain(platform.reserved.iter().copied()).chain([image, tree]) {
                prop_assert!(covers(layout.reserved(), used), "{used}");
            }
            // What goes back was reserved, is no part of what stays, and is all of the tree that lies beside it.
            for range in reclaimable(&platform, image, tree) {
                let own = Region::between(range.first.base().0, range.end() << PAGE_SHIFT).unwrap();
                prop_assert!(covers(layout.reserved(), own));
                prop_assert!(apart(range, frame_range(&image)) && apart(range, table));
            }
            let back = reclaimable(&platform, image, tree);
            prop_assert!(image.overlaps(tree.to_pages()) || covers(&back, tree));
        }
    }

    #[test]
    fn memory_in_common_keeps_its_place() {
        let (plain, placed) = (
            GICV3.to_vec(),
            edited(GICV3, |root| {
                let chosen = root.child_mut("chosen").unwrap();
                chosen.add_child(first_shared_memory("a", 0x7fe0_0000, 0x7fe0_0000, 0x20_0000));
            }),
        );
        let of = |tree: &[u8]| {
            let platform = Platform::parse(tree).unwrap();
            let layout =
                MemoryLayout::new(&platform, region(0x4020_0000, MIB), region(0x4800_0000, MIB)).unwrap();
            table(&layout).end() << PAGE_SHIFT
        };
        assert_eq!((of(&plain), of(&placed)), (0x8000_0000, 0x7fe0_0000));
    }

    #[test]
    fn modules_of_domains_are_given_back_and_a_machine_can_be_too_full() {
        let tree = host(&[], [boot_domain("d", [])]);
        let platform = Platform::parse(&tree).unwrap();
        let back = reclaimable(&platform, region(0x4020_0000, MIB), region(0x4800_0000, MIB));
        let kernel = platform.sound_boot_domains().next().unwrap().kernel.region;
        assert!(covers(&back, kernel));
        let all = platform.memory[0];
        let full = MemoryLayout::new(&platform, all, region(0x4800_0000, MIB)).unwrap_err();
        assert!(full.to_string().starts_with("no 2"), "{full}");
    }
}
