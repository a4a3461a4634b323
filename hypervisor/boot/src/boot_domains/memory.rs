//! The RAM of a domain that starts at boot.

use alloc::vec::Vec;

use machine_model::Region;

use xenolith_core::types::{DomId, Gfn, Mfn, PAGE_SHIFT};
use xenolith_memory::frames::{Area, FrameRange, Frames};

use super::BootError;

/// log2 of the pages in 2 MiB: no piece but the last is smaller, so that it is mapped in blocks.
const BLOCK: u8 = 9;

/// Takes RAM for a domain, in few large pieces; if devices will reach it by the machine's own addresses, below
/// `limits` first.
pub fn allocate(frames: &Frames, id: DomId, bytes: u64, limits: Option<&[Mfn]>) -> Result<Area, BootError> {
    let pages = bytes.div_ceil(1 << PAGE_SHIFT);
    let area = frames.alloc_below_first(pages, BLOCK, limits.unwrap_or_default(), id);
    area.ok_or(BootError::Memory { wanted: bytes, free: frames.available_frames() << PAGE_SHIFT })
}

/// Gives the RAM of a domain back that was not built.
pub fn give_back(frames: &Frames, id: DomId, area: &[FrameRange]) {
    for &range in area {
        if let Err(error) = frames.free_range(range, id) {
            log::warn!("{id}: its memory at {} stays reserved: {error:?}", range.first.base());
        }
    }
}

/// Fills the banks with the pieces, both in their order. They have the same number of pages.
pub fn spread(banks: &[Region], area: &[FrameRange]) -> Vec<(Gfn, FrameRange)> {
    let mut parts = Vec::new();
    let mut pieces = area.iter().copied();
    let mut piece = pieces.next();
    for bank in banks {
        let (mut gfn, mut room) = (bank.start >> PAGE_SHIFT, bank.size >> PAGE_SHIFT);
        while let Some(FrameRange { first, pages }) = piece
            && room > 0
        {
            let now = pages.min(room);
            parts.push((Gfn(gfn), FrameRange { first, pages: now }));
            (gfn, room) = (gfn.saturating_add(now), room.saturating_sub(now));
            piece = if now == pages {
                pieces.next()
            } else {
                Some(FrameRange { first: Mfn(first.0.saturating_add(now)), pages: pages.saturating_sub(now) })
            };
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_page_of_the_pieces_has_a_place_in_order(
            sizes in prop::collection::vec(1u64..40, 1..6), cut in any::<prop::sample::Index>(),
        ) {
            let mut next = 0x1000;
            let area: Vec<FrameRange> = sizes.iter().map(|&pages| {
                let piece = FrameRange { first: Mfn(next), pages };
                next += pages + 7;
                piece
            }).collect();
            let total: u64 = sizes.iter().sum();
            let low = cut.index(total as usize) as u64;
            let banks = [Region::new(0x4000_0000, low << 12), Region::new(0x2_0000_0000, (total - low) << 12)];
            let frames = |range: &FrameRange| (range.first.0..range.first.0 + range.pages).collect::<Vec<u64>>();
            let parts = spread(&banks, &area);
            let placed: Vec<u64> = parts.iter().flat_map(|(_, range)| frames(range)).collect();
            prop_assert_eq!(placed, area.iter().flat_map(frames).collect::<Vec<u64>>());
            let gfns: Vec<u64> = parts.iter().flat_map(|(gfn, range)| gfn.0..gfn.0 + range.pages).collect();
            let expected = (0x4_0000..0x4_0000 + low).chain(0x20_0000..0x20_0000 + total - low);
            prop_assert_eq!(gfns, expected.collect::<Vec<u64>>());
        }
    }
}
