//! How far the machine's devices reach with their DMA, where the tree says that it is not all of memory.
//!
//! Nothing stands between the first domain's devices and memory, so that its RAM must lie where they reach.

use alloc::string::String;

use super::region::Region;
use super::tree::{Place, Then, Tree, entries};
use xenolith_core::types::Pa;

/// The nearest end of what devices reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaLimit {
    /// The first byte that they do not reach.
    pub end: Pa,
    /// The node that says so: a bus with `dma-ranges`, or a pool below `/reserved-memory` that must lie in `alloc-ranges`.
    pub node: String,
}

/// The nearest end that any node has, if some RAM lies behind it. (Linux takes the nearest one for its DMA zone likewise, and
/// makes its pools in `alloc-ranges`.)
pub fn limit(tree: &Tree<'_>, memory: &[Region]) -> Option<DmaLimit> {
    let mut nearest = memory.last()?.end().0;
    let mut node = None;
    tree.walk(&mut |place| {
        if !place.is_enabled() {
            return Then::Over;
        }
        if let Some(end) = place.dma_end().or_else(|| pool_end(place)).filter(|&end| end < nearest) {
            (nearest, node) = (end, Some(place.path()));
        }
        Then::Into
    });
    Some(DmaLimit { end: Pa(nearest), node: node? })
}

/// The end of where a pool may be that has no place yet (reserved-memory binding, `alloc-ranges`).
fn pool_end(place: &Place<'_, '_>) -> Option<u64> {
    let parent = place.parent().filter(|parent| parent.path() == "/reserved-memory")?;
    let ranges = place.bytes("alloc-ranges").filter(|_| place.bytes("reg").is_none())?;
    let ends = entries(ranges, [parent.address_cells(), parent.size_cells()])
        .filter_map(|[start, size]| Some(start?.saturating_add(size.filter(|&size| size > 0)?)));
    ends.max()
}
