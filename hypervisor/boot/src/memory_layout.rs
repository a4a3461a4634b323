//! Who has which part of RAM when the hypervisor takes charge of it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use xenolith_core::types::{PAGE_SHIFT, PAGE_SIZE, Pa};
use xenolith_host::platform::{BootDomain, Module, Platform, Region, subtract};
use xenolith_memory::frames::{FrameRange, StorageNeeded, storage_needed};

/// The banks of RAM, what of them is in use, and room for the table of frames. It is only made from what the platform says, so
/// that who has one need not doubt it: the room is RAM in nobody's use, and all that is in use is reserved.
#[derive(Debug)]
pub struct MemoryLayout {
    banks: Vec<FrameRange>,
    reserved: Vec<FrameRange>,
    storage: (Pa, StorageNeeded),
}

/// Why the hypervisor cannot take charge of RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// There is no room for the table of frames.
    NoRoom {
        /// The bytes that it needs.
        bytes: u64,
    },
    /// What the boot loader left lies where something else does, so that one of the two is damaged.
    Covered {
        /// What it is.
        what: String,
        /// Where it is.
        region: Region,
        /// What else is there.
        by: &'static str,
        /// Where that is.
        there: Region,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::NoRoom { bytes } => {
                write!(f, "no {bytes} bytes of RAM in a row for the table of frames")
            }
            LayoutError::Covered { what, region, by, there } => write!(
                f,
                "{what} at {region} lies where {by} is ({there}); the boot loader has to put it elsewhere"
            ),
        }
    }
}

impl MemoryLayout {
    /// The layout of a machine, with the hypervisor's image and the device tree where they are. Static shared memory
    /// at fixed places is free, and stays so.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] names what is in the way of what.
    pub fn new(platform: &Platform, image: Region, device_tree: Region) -> Result<Self, LayoutError> {
        check_apart(platform, image, device_tree)?;
        let ram = whole_pages(platform);
        let mut reserved = permanent(platform, image);
        reserved.extend(passing(platform, device_tree));
        let banks: Vec<FrameRange> = ram.iter().map(frame_range).collect();
        let needed = storage_needed(&banks);
        let bytes = (needed.bytes() as u64).next_multiple_of(PAGE_SIZE);
        let placed = platform.common_memory().filter_map(|memory| memory.machine);
        let in_use: Vec<Region> = reserved.iter().copied().chain(placed).collect();
        let room = subtract(&ram, &in_use);
        // The highest: what is free below stays in larger pieces.
        let place = room.iter().rev().find(|region| region.size() >= bytes);
        let place = place.and_then(|region| Region::between(region.end().0 - bytes, region.end().0));
        let place = place.ok_or(LayoutError::NoRoom { bytes })?;
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
    // Nobody takes charge of a page that is RAM in parts only.
    let mut kept = subtract(&passing, &whole_pages(platform));
    kept.extend(permanent(platform, image));
    subtract(&passing, &kept).iter().map(frame_range).collect()
}

/// Whether nothing that the boot loader left has been overwritten.
fn check_apart(platform: &Platform, image: Region, device_tree: Region) -> Result<(), LayoutError> {
    let covered = |what: String, region: Region, by, there: Region| match region.overlaps(there) {
        true => Err(LayoutError::Covered { what, region, by, there }),
        false => Ok(()),
    };
    const IMAGE: &str = "the hypervisor's image with its stacks";
    covered(String::from("the device tree"), device_tree, IMAGE, image)?;
    for module in modules(platform) {
        let what = || format!("boot module {} ({})", module.path, module.kind);
        covered(what(), module.region, IMAGE, image)?;
        covered(what(), module.region, "the device tree", device_tree)?;
    }
    Ok(())
}

/// RAM without the pages at the banks' edges that are RAM in parts only.
fn whole_pages(platform: &Platform) -> Vec<Region> {
    let round = |bank: &Region| {
        let start = bank.start().0.checked_next_multiple_of(PAGE_SIZE)?;
        Region::between(start, bank.end().0 & !(PAGE_SIZE - 1))
    };
    platform.memory.iter().filter_map(round).collect()
}

/// What must never be overwritten: the hypervisor, and what the firmware keeps.
fn permanent(platform: &Platform, image: Region) -> Vec<Region> {
    core::iter::once(image).chain(platform.reserved.iter().copied()).map(Region::to_pages).collect()
}

/// What is needed until the domains are built.
fn passing(platform: &Platform, device_tree: Region) -> impl Iterator<Item = Region> {
    let modules = modules(platform).map(|module| module.region);
    modules.chain([device_tree]).map(Region::to_pages)
}

/// The modules of all domains.
fn modules(platform: &Platform) -> impl Iterator<Item = &Module> {
    let of_domains = platform.sound_boot_domains().flat_map(BootDomain::modules);
    platform.modules.iter().chain(of_domains)
}

fn frame_range(region: &Region) -> FrameRange {
    let region = region.to_pages();
    FrameRange { first: region.start().frame(), pages: region.size() >> PAGE_SHIFT }
}

#[cfg(test)]
mod tests;
