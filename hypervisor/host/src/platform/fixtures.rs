//! Device trees for tests: those of QEMU 7.2's `virt` machine with `virtualization=on`, four Cortex-A57, 1 GiB and a
//! kernel and a ramdisk from `guest-loader`; those trees edited; and those trees damaged.

pub mod domains;

use dtoolkit::fdt::Fdt;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;

/// With `gic-version=2`.
pub const GICV2: &[u8] = include_bytes!("../../tests/data/virt-gicv2.dtb");
/// With `gic-version=3`.
pub const GICV3: &[u8] = include_bytes!("../../tests/data/virt-gicv3.dtb");

/// A tree with something changed.
pub fn edited(dtb: &[u8], edit: impl FnOnce(&mut DeviceTreeNode)) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(dtb).unwrap());
    edit(&mut tree.root);
    tree.to_dtb()
}

/// A tree with entries in its memory reservation block.
pub fn reserving(dtb: &[u8], ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(dtb).unwrap());
    tree.memory_reservations
        .extend(ranges.into_iter().map(|(start, size)| MemoryReservation::new(start, size)));
    tree.to_dtb()
}

/// A tree without one node.
pub fn without(dtb: &[u8], parent: &str, child: &str) -> Vec<u8> {
    edited(dtb, |root| {
        let parent = if parent.is_empty() { root } else { root.child_mut(parent).unwrap() };
        parent.remove_child(child).unwrap();
    })
}

/// A tree with one property of a child of the root replaced or added.
pub fn with(dtb: &[u8], child: &str, property: &str, cells: &[u32]) -> Vec<u8> {
    edited(dtb, |root| {
        root.child_mut(child).unwrap().add_property(DeviceTreeProperty::new(property, cells).unwrap());
    })
}

/// A property that is one string.
pub fn string(name: &str, value: &str) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value).unwrap()
}

/// A property that is an array of cells.
pub fn cells(name: &str, value: &[u32]) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value).unwrap()
}

/// A node with properties.
pub fn node(name: &str, properties: impl IntoIterator<Item = DeviceTreeProperty>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).unwrap();
    properties.into_iter().for_each(|property| node.add_property(property));
    node
}

/// A node under another name.
pub fn renamed(old: DeviceTreeNode, name: &str) -> DeviceTreeNode {
    use dtoolkit::Node;
    let mut new = DeviceTreeNode::new(name).unwrap();
    old.properties().for_each(|property| new.add_property(property.clone()));
    old.children().for_each(|child| new.add_child(child.clone()));
    new
}

/// One of the trees with bytes or cells changed: some where the shape is, some in values, and some cut short.
pub fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let cell = prop_oneof![Just(0u32), Just(1), Just(u32::MAX), Just(0x8000_0000), 0u32..16, any::<u32>()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), cell), 1..12);
    (any::<bool>(), changes, any::<bool>(), prop::option::weighted(0.05, any::<prop::sample::Index>()))
        .prop_map(|(v3, changes, whole_cells, cut)| {
            let mut dtb = if v3 { GICV3 } else { GICV2 }.to_vec();
            for (at, value) in changes {
                let at = at.index(dtb.len() - 4);
                if whole_cells {
                    dtb[at & !3..][..4].copy_from_slice(&value.to_be_bytes());
                } else {
                    dtb[at] = value.to_be_bytes()[3];
                }
            }
            if let Some(cut) = cut {
                dtb.truncate(cut.index(dtb.len()));
            }
            dtb
        })
}

/// One of the trees with whole cells changed inside property values only, so that its shape stays sound and the code
/// behind the parser sees the nonsense.
pub fn nonsensical() -> impl Strategy<Value = Vec<u8>> {
    let cell =
        prop_oneof![Just(0u32), Just(u32::MAX), Just(0x8000_0000), 0u32..16, 0x8000u32..0x8010, any::<u32>()];
    (any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), cell), 1..24)).prop_map(
        |(v3, changes)| {
            let mut dtb = if v3 { GICV3 } else { GICV2 }.to_vec();
            let places = value_cells(&dtb);
            for (at, value) in changes {
                let at = places[at.index(places.len())];
                dtb[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            dtb
        },
    )
}

/// Offsets of all whole cells inside property values.
fn value_cells(dtb: &[u8]) -> Vec<usize> {
    fn collect(node: &dtoolkit::fdt::FdtNode<'_>, base: usize, into: &mut Vec<usize>) {
        use dtoolkit::{Node, Property};
        for property in node.properties() {
            let start = property.value().as_ptr() as usize - base;
            into.extend((start..start + property.value().len() / 4 * 4).step_by(4));
        }
        node.children().for_each(|child| collect(&child, base, into));
    }
    let mut places = Vec::new();
    collect(&Fdt::new(dtb).unwrap().root(), dtb.as_ptr() as usize, &mut places);
    places
}
