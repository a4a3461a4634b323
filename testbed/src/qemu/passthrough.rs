//! Devices that a domain other than the first owns: virtio-mmio slots, by the binding of Xen's passthrough trees.
//!
//! A stage-2 mapping has no smaller unit than a page, and eight slots share one. So a slot takes its neighbours away
//! from the first domain too, and a page has one owner.

use anyhow::{Context, Result, bail};
use dtoolkit::Node;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::tree::{cells, mark, pair, set};

/// Bytes between two slots.
const SLOT: u64 = 0x200;
const PAGE: u64 = 0x1000;
/// The address of slot 0 (QEMU, hw/arm/virt.c).
const FIRST: u64 = 0x0a00_0000;
/// The phandle that stands for the domain's own interrupt controller (Xen, `GUEST_PHANDLE_GIC`).
const CONTROLLER: u32 = 65000;

/// The tree of what the domain `name` owns, to be its module `multiboot,device-tree`. In the host's tree the slots, and
/// those in the same page, are marked as not the first domain's.
///
/// # Errors
/// A slot does not exist, or lies in a page that has an owner already.
pub fn give(host: &mut DeviceTree, name: &str, slots: &[u32]) -> Result<DeviceTree> {
    let mut devices = DeviceTreeNode::new("passthrough")?;
    set(&mut devices, "compatible", "simple-bus")?;
    set(&mut devices, "#address-cells", 2_u32)?;
    set(&mut devices, "#size-cells", 2_u32)?;
    mark(&mut devices, "ranges")?;
    for slot in slots {
        devices.add_child(device(host, *slot).with_context(|| format!("slot {slot} for {name}"))?);
    }
    let mut pages: Vec<u64> = slots.iter().map(|slot| page_of(address(*slot))).collect();
    pages.dedup();
    for page in pages {
        withhold(host, page).with_context(|| format!("devices of {name}"))?;
    }
    let mut tree = DeviceTree::new();
    set(&mut tree.root, "#address-cells", 2_u32)?;
    set(&mut tree.root, "#size-cells", 2_u32)?;
    tree.root.add_child(devices);
    Ok(tree)
}

/// The domain's node for a slot: the host's own, at the same address, with what the hypervisor is to map and route.
fn device(host: &DeviceTree, slot: u32) -> Result<DeviceTreeNode> {
    let address = address(slot);
    let path = format!("/virtio_mmio@{address:x}");
    let mut node = host.find_node(&path).with_context(|| format!("the machine has no {path}"))?.clone();
    let page = page_of(address);
    let [high, low] = pair(page);
    let [size_high, size_low] = pair(PAGE);
    set(&mut node, "interrupt-parent", CONTROLLER)?;
    set(&mut node, "xen,reg", [high, low, size_high, size_low, high, low])?;
    set(&mut node, "xen,path", path.as_str())?;
    mark(&mut node, "xen,force-assign-without-iommu")?;
    Ok(node)
}

/// Marks every slot in a page of the host's tree.
fn withhold(host: &mut DeviceTree, page: u64) -> Result<()> {
    for node in host.root.children_mut() {
        let in_page = node.name().starts_with("virtio_mmio@")
            && cells(node, "reg").is_some_and(|reg| match reg.as_slice() {
                [high, low, ..] => page_of(u64::from(*high) << 32 | u64::from(*low)) == page,
                _ => false,
            });
        if in_page && node.property("xen,passthrough").is_some() {
            bail!("the page at {page:#x} belongs to another domain");
        }
        if in_page {
            mark(node, "xen,passthrough")?;
        }
    }
    Ok(())
}

fn address(slot: u32) -> u64 {
    FIRST.saturating_add(SLOT.saturating_mul(slot.into()))
}

fn page_of(address: u64) -> u64 {
    address & !(PAGE - 1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use dtoolkit::Property;

    /// A host's tree with the board's virtio-mmio slots and an empty /chosen.
    pub fn host() -> DeviceTree {
        let mut tree = DeviceTree::new();
        tree.root.add_child(DeviceTreeNode::new("chosen").unwrap());
        for slot in 0..32_u32 {
            let at = 0x0a00_0000 + 0x200 * slot;
            let mut node = DeviceTreeNode::new(format!("virtio_mmio@{at:x}")).unwrap();
            set(&mut node, "reg", [0, at, 0, 0x200]).unwrap();
            set(&mut node, "interrupts", [0, 16 + slot, 1]).unwrap();
            set(&mut node, "compatible", "virtio,mmio").unwrap();
            tree.root.add_child(node);
        }
        tree
    }

    fn withheld(host: &DeviceTree) -> Vec<u32> {
        let is_marked = |node: &&DeviceTreeNode| node.property("xen,passthrough").is_some();
        host.root.children().filter(is_marked).map(|node| cells(node, "reg").unwrap()[1]).collect()
    }

    #[test]
    fn a_slot_takes_its_page_along() {
        let mut host = host();
        let tree = give(&mut host, "driver", &[9, 10]).unwrap();
        assert_eq!(withheld(&host), (8..16).map(|slot| 0x0a00_0000 + 0x200 * slot).collect::<Vec<_>>());
        let devices = tree.find_node("/passthrough").unwrap();
        assert_eq!(devices.children().count(), 2);
        let node = devices.child("virtio_mmio@a001200").unwrap();
        assert_eq!(cells(node, "xen,reg").unwrap(), [0, 0x0a00_1000, 0, 0x1000, 0, 0x0a00_1000]);
        assert_eq!(cells(node, "interrupts").unwrap(), [0, 25, 1]);
        assert_eq!(cells(node, "interrupt-parent").unwrap(), [65000]);
        assert_eq!(node.property("xen,path").unwrap().value(), b"/virtio_mmio@a001200\0");
    }

    #[test]
    fn a_page_has_one_owner_and_a_slot_must_exist() {
        let mut host = host();
        give(&mut host, "one", &[0]).unwrap();
        assert!(format!("{:#}", give(&mut host, "two", &[7]).unwrap_err()).contains("another domain"));
        assert!(format!("{:#}", give(&mut host, "two", &[32]).unwrap_err()).contains("slot 32 for two"));
        give(&mut host, "two", &[8]).unwrap();
    }
}
