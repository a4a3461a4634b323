//! Whether bytes have the shape of a flattened device tree (Devicetree Specification, chapter 5).
//!
//! What passes here, dtoolkit's readers walk without an error: each token, name and value lies inside, each name is a
//! terminated string, nodes close. dtoolkit's own check is not used, because it refuses names of more than 31
//! characters, which trees of many real boards have. The number of nodes is bounded in the same walk, which takes time in
//! proportion to the bytes. Their depth is not: what goes down a tree bounds it for itself ([`super::Place::children`]).

use core::ops::Range;

use crate::platform::error::PlatformError;

/// Nodes, at most. The largest trees of real boards have some 4000.
const MAX_NODES: usize = 16384;
/// Characters of a node's or a property's name, at most.
const MAX_NAME: usize = 255;
/// Bytes, at most (Linux, Documentation/arch/arm64/booting.rst, section 2).
const MAX_SIZE: usize = 2 << 20;

const MAGIC: u32 = 0xd00d_feed;
/// The version of the format, and the oldest one that its readers can be told to read.
const VERSION: u32 = 17;
const HEADER_SIZE: usize = 40;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The bytes of the tree that starts at the first byte, without what stands behind it, if their shape is sound.
pub fn checked(bytes: &[u8]) -> Result<&[u8], PlatformError> {
    let truncated = |wants| PlatformError::Truncated { has: bytes.len(), wants };
    let magic = word(bytes, 0).ok_or(truncated(HEADER_SIZE))?;
    if magic != MAGIC {
        return Err(PlatformError::BadMagic(magic));
    }
    let size = offset(bytes, 4).ok_or(truncated(HEADER_SIZE))?;
    if size > MAX_SIZE {
        return Err(PlatformError::TooLarge(size));
    }
    let size = size.max(HEADER_SIZE);
    let tree = bytes.get(..size).ok_or(truncated(size))?;
    let newest = word(tree, 20).unwrap_or(0);
    let oldest = word(tree, 24).unwrap_or(u32::MAX);
    if !(oldest..=newest).contains(&VERSION) {
        return Err(damaged("is of a version other than 17", 20));
    }
    check_reservations(tree, offset(tree, 16).unwrap_or(usize::MAX))?;
    let strings = strings(tree).ok_or(damaged("has its strings outside", 12))?;
    check_structure(tree, offset(tree, 8).unwrap_or(usize::MAX), strings)?;
    Ok(tree)
}

/// The list of reserved ranges must have its end, an entry of zeros.
fn check_reservations(tree: &[u8], start: usize) -> Result<(), PlatformError> {
    let entries = tree.get(start..).filter(|_| start.is_multiple_of(8)).unwrap_or_default();
    let has_end = entries.as_chunks::<16>().0.contains(&[0; 16]);
    if has_end { Ok(()) } else { Err(damaged("has a memory reservation block without an end", start)) }
}

fn strings(tree: &[u8]) -> Option<Range<usize>> {
    let start = offset(tree, 12)?;
    let end = start.checked_add(offset(tree, 32)?)?;
    (end <= tree.len()).then_some(start..end)
}

fn check_structure(tree: &[u8], start: usize, strings: Range<usize>) -> Result<(), PlatformError> {
    if !start.is_multiple_of(4) || word(tree, start) != Some(BEGIN_NODE) {
        return Err(damaged("has no root node", start));
    }
    let (mut at, mut depth, mut nodes) = (start, 0usize, 0usize);
    // Properties stand before the nodes below (Devicetree Specification 5.4.2).
    let mut may_have_property = false;
    loop {
        let token = word(tree, at).ok_or(damaged("ends inside a node", at))?;
        let behind = at.saturating_add(4);
        at = match token {
            BEGIN_NODE => {
                (depth, nodes, may_have_property) = (depth.saturating_add(1), nodes.saturating_add(1), true);
                if nodes > MAX_NODES {
                    return Err(PlatformError::TooManyNodes);
                }
                let name = name(tree, behind, tree.len()).filter(|name| name.is_empty() == (depth == 1));
                let name = name
                    .filter(|name| !name.contains(&b'/'))
                    .ok_or(damaged("has a bad node name", behind))?;
                // The byte behind the name is its end.
                behind.saturating_add(name.len()).saturating_add(1)
            }
            PROPERTY if may_have_property => {
                let bad = damaged("has a bad property", at);
                let [length, name_offset] = [offset(tree, behind), offset(tree, behind.saturating_add(4))];
                let (Some(length), Some(name_offset)) = (length, name_offset) else { return Err(bad) };
                let name = name(tree, strings.start.saturating_add(name_offset), strings.end);
                let end = behind.saturating_add(8).saturating_add(length);
                if name.is_none_or(<[u8]>::is_empty) || end > tree.len() {
                    return Err(bad);
                }
                end
            }
            END_NODE => {
                (depth, may_have_property) = (depth.saturating_sub(1), false);
                if depth == 0 {
                    let is_end = word(tree, behind) == Some(END);
                    return if is_end {
                        Ok(())
                    } else {
                        Err(damaged("goes on behind its root node", behind))
                    };
                }
                behind
            }
            NOP => behind,
            _ => return Err(damaged("has a bad token", at)),
        }
        .next_multiple_of(4);
    }
}

/// The printable characters from `start` to the zero behind them, all before `end`.
fn name(tree: &[u8], start: usize, end: usize) -> Option<&[u8]> {
    let rest = tree.get(start..end)?;
    let length = rest.iter().take(MAX_NAME + 1).position(|&byte| byte == 0)?;
    rest.get(..length).filter(|name| name.iter().all(u8::is_ascii_graphic))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    word(bytes, at).and_then(|value| usize::try_from(value).ok())
}

fn damaged(problem: &'static str, at: usize) -> PlatformError {
    PlatformError::Damaged { problem, at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::fixtures::{GICV2, GICV3, damaged, nonsensical};
    use dtoolkit::fdt::{Fdt, FdtNode};
    use dtoolkit::{Node, Property};
    use proptest::prelude::*;

    /// Reads all there is, which panics where dtoolkit relies on the shape.
    fn read_all(tree: &[u8]) -> usize {
        fn below(node: FdtNode<'_>) -> usize {
            let own: usize =
                node.properties().map(|property| property.name().len() + property.value().len()).sum();
            node.name().len() + own + node.children().map(below).sum::<usize>()
        }
        let fdt = Fdt::new_unchecked(tree);
        below(fdt.root()) + fdt.memory_reservations().count()
    }

    #[test]
    fn real_trees_pass() {
        for tree in [GICV2, GICV3] {
            assert_eq!(checked(tree), Ok(tree));
            assert!(read_all(tree) > 4000);
        }
    }

    #[test]
    fn a_tree_cut_in_its_structure_says_where() {
        let mut cut = GICV3[..0x400].to_vec();
        cut[4..8].copy_from_slice(&0x400u32.to_be_bytes());
        assert_eq!(checked(&cut), Err(super::damaged("has its strings outside", 12)));
        cut[12..16].copy_from_slice(&0u32.to_be_bytes());
        assert!(matches!(checked(&cut), Err(PlatformError::Damaged { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_passes_is_read_without_a_panic(tree in prop_oneof![3 => damaged(), 1 => nonsensical()]) {
            if let Ok(tree) = checked(&tree) {
                read_all(tree);
            }
        }

        #[test]
        fn what_dtoolkit_accepts_passes(tree in damaged()) {
            if Fdt::new(&tree).is_ok() {
                prop_assert!(checked(&tree).is_ok());
            }
        }
    }
}
