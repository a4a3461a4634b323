//! Memory of the first domain: where it lies, and what is left for mapping others' pages.

use alloc::vec::Vec;

use xenolith_core::types::{DomId, Ipa, PAGE_SHIFT};
use xenolith_host::platform::{Platform, Region, StaticShmNode, subtract};
use xenolith_memory::frames::{Area, Frames};

use super::{FirstError, Modules};
use crate::dma;

/// log2 of the pages in 2 MiB, in which the domain's RAM is measured.
const BLOCK: u8 = 9;
/// The smallest window that is worth telling Linux about: Xen's own limit.
const SMALLEST_WINDOW: u64 = 64 << 20;

/// Takes the domain's RAM, in few large pieces: first where all devices reach, then below 4 GiB, because the DMA of many devices
/// reaches no further and nothing stands between them and memory that could help.
pub fn allocate(frames: &Frames, platform: &Platform, bytes: u64) -> Result<Area, FirstError> {
    let pages = bytes >> PAGE_SHIFT >> BLOCK << BLOCK;
    let free = frames.available_frames();
    let too_much = FirstError::Memory { wanted: bytes, free: free << PAGE_SHIFT };
    if pages == 0 || pages > free {
        return Err(too_much);
    }
    let limits = dma::limits(platform);
    let area = frames.alloc_below_first(pages, BLOCK, &limits, DomId::CONTROL).ok_or(too_much)?;
    dma::report(platform, &area);
    Ok(area)
}

/// Guest physical room in which Linux may map pages of other domains: RAM of the machine that is not the domain's, so
/// that no device is there (Xen's "extended regions").
pub fn extended_regions(
    platform: &Platform,
    modules: &Modules<'_>,
    banks: &[(Ipa, u64)],
    shared: &[&StaticShmNode],
) -> Vec<(Ipa, u64)> {
    let mut taken: Vec<Region> = banks
        .iter()
        .filter_map(|&(start, size)| Region::between(start.0, start.0.checked_add(size)?))
        .collect();
    taken.push(modules.grant_window);
    taken.extend(shared.iter().filter_map(|memory| memory.machine));
    subtract(&platform.memory, &taken)
        .into_iter()
        .filter_map(|region| {
            let block = 1_u64 << BLOCK << PAGE_SHIFT;
            let start = region.start().0.checked_next_multiple_of(block)?;
            let size = (region.end().0 / block * block).checked_sub(start)?;
            (size >= SMALLEST_WINDOW).then_some((Ipa(start), size))
        })
        .collect()
}
