//! RAM that the machine's devices reach: what a domain takes first whose addresses are the machine's.

use alloc::vec::Vec;

use xenolith_core::types::{Mfn, PAGE_SHIFT};
use xenolith_host::platform::Platform;
use xenolith_memory::frames::{ABOVE_4_GIB, FrameRange};

/// The first frames that devices do not reach, the lowest first: what the tree says, and 4 GiB.
pub fn limits(platform: &Platform) -> Vec<Mfn> {
    let of_tree = platform.dma_limit.as_ref().map(|limit| limit.end.frame());
    of_tree.filter(|&limit| limit < ABOVE_4_GIB).into_iter().chain([ABOVE_4_GIB]).collect()
}

/// Says how much of the first domain's RAM lies where the tree wants it.
pub fn report(platform: &Platform, area: &[FrameRange]) {
    let Some(limit) = &platform.dma_limit else { return };
    let end = limit.end.frame().0;
    let low = area.iter().map(|range| range.end().min(end).saturating_sub(range.first.0)).sum::<u64>();
    let (end, node) = (limit.end.0, &limit.node);
    if low > 0 {
        let mib = low >> (20 - PAGE_SHIFT);
        log::info!("first domain: {mib} MiB lie below {end:#x}, where DMA ends for {node}");
    } else {
        log::warn!(
            "first domain: no RAM is free below {end:#x}, where DMA ends for {node}: its devices will fail"
        );
    }
}
