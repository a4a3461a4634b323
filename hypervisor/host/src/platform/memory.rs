//! The machine's RAM, and what of it firmware and devices keep.

use alloc::vec::Vec;

use super::error::PlatformError;
use super::left_out::LeftOuts;
use super::region::{Region, merge};
use super::tree::{Place, RegEntry, Then, Tree};
use xenolith_core::types::Pa;

/// Memory banks and reserved ranges that are kept, each. A tree with more is refused: a reserved range that is left out
/// would be given to a domain as RAM.
const MAX_RANGES: usize = 1024;

/// The machine's RAM: banks in ascending order, neighbours joined. They are what the root's own nodes say (Devicetree
/// Specification 3.4): a node further below with `device_type = "memory"` is a device's.
pub fn memory(tree: &Tree<'_>, left_out: &mut LeftOuts) -> Result<Vec<Region>, PlatformError> {
    const BAD: &str = "an entry of `reg` is no range of machine addresses; it is not used as RAM";
    let mut banks = Vec::new();
    below(tree, "/", &mut |place| match place.text("device_type") {
        Some("memory") => add_ranges(&mut banks, place, left_out, BAD),
        _ => Ok(()),
    })?;
    if banks.is_empty() { Err(PlatformError::NoMemory) } else { Ok(merge(banks)) }
}

/// What the tree reserves: the header's list, and the fixed ranges under `/reserved-memory`. Ascending, joined.
pub fn reserved(tree: &Tree<'_>, left_out: &mut LeftOuts) -> Result<Vec<Region>, PlatformError> {
    const BAD: &str = "an entry of `reg` is no range of machine addresses (is `ranges` missing above it?); it is not \
                       reserved, and may become a domain's RAM";
    let mut ranges = Vec::new();
    for (address, size) in tree.memory_reservations() {
        match Region::new(Pa(address), size) {
            Some(range) if ranges.len() < MAX_RANGES => ranges.push(range),
            Some(_) => return Err(PlatformError::TooManyRanges { node: None, limit: MAX_RANGES }),
            None if size > 0 => {
                left_out.note(None, "an entry ends behind the address space; it is not reserved");
            }
            None => {}
        }
    }
    below(tree, "/reserved-memory", &mut |place| add_ranges(&mut ranges, place, left_out, BAD))?;
    Ok(merge(ranges))
}

/// Visits the children of one node until the first error.
fn below(
    tree: &Tree<'_>,
    path: &str,
    visit: &mut dyn FnMut(&Place<'_, '_>) -> Result<(), PlatformError>,
) -> Result<(), PlatformError> {
    let mut result = Ok(());
    tree.walk(&mut |place| {
        let Some(parent) = place.parent() else { return Then::Into };
        if parent.path() != path {
            // Only the way to the node itself is of interest.
            return if place.path() == path { Then::Into } else { Then::Over };
        }
        result = visit(place);
        if result.is_ok() { Then::Over } else { Then::Stop }
    });
    result
}

/// Adds the ranges of an enabled node's `reg`. Of what is no range, the log will say `bad`.
fn add_ranges(
    ranges: &mut Vec<Region>,
    place: &Place<'_, '_>,
    left_out: &mut LeftOuts,
    bad: &'static str,
) -> Result<(), PlatformError> {
    if !place.is_enabled() {
        return Ok(());
    }
    if place.has_more_regions() {
        return Err(place.bad("reg", "has more entries than are looked at"));
    }
    let mut is_bad = place.has_ragged_reg();
    for entry in place.reg_entries() {
        match entry {
            RegEntry::Region(range) if ranges.len() < MAX_RANGES => ranges.push(range),
            RegEntry::Region(_) => {
                return Err(PlatformError::TooManyRanges { node: Some(place.path()), limit: MAX_RANGES });
            }
            RegEntry::Empty => {}
            RegEntry::Unreachable => is_bad = true,
        }
    }
    if is_bad {
        left_out.note(place.path(), bad);
    }
    Ok(())
}
