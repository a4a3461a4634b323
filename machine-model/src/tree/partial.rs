//! A partial device tree: nodes for hardware that a boot-time domain has been given.
//!
//! As in Xen, `/passthrough` and `/aliases` are taken with all below them, and a node `/gic` only lends its phandle, by
//! which nodes under `/passthrough` refer to the interrupt controller. Properties that begin with `xen,` speak to the
//! hypervisor; the guest does not see them.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};

use super::TreeError;

/// Nodes inside nodes, at most: each level costs stack.
const MAX_DEPTH: usize = 16;
/// Properties for the hypervisor only.
const OURS: &str = "xen,";

/// What a partial tree adds to a guest's.
#[derive(Clone, Debug, Default)]
pub struct Partial {
    /// `/passthrough`.
    pub(super) passthrough: Option<DeviceTreeNode>,
    /// `/aliases`.
    pub(super) aliases: Option<DeviceTreeNode>,
    /// The phandle by which its nodes mean the interrupt controller.
    pub(super) gic_phandle: Option<u32>,
}

impl Partial {
    /// Takes what a guest is to see of a partial tree. Its shape must have been checked by whoever opened it.
    ///
    /// # Errors
    ///
    /// [`TreeError::TooDeep`].
    pub fn read(tree: &Fdt<'_>) -> Result<Partial, TreeError> {
        let mut partial = Partial::default();
        for node in tree.root().children() {
            match node.name() {
                "passthrough" => partial.passthrough = Some(copy(&node, 1)?),
                "aliases" => partial.aliases = Some(copy(&node, 1)?),
                "gic" => partial.gic_phandle = phandle(&node),
                _ => {}
            }
        }
        Ok(partial)
    }

    /// The phandle by which its nodes mean the interrupt controller, if it says one.
    pub fn gic_phandle(&self) -> Option<u32> {
        self.gic_phandle
    }
}

fn phandle(node: &FdtNode<'_>) -> Option<u32> {
    let property = node.property("phandle").or_else(|| node.property("linux,phandle"))?;
    property.value().try_into().ok().map(u32::from_be_bytes)
}

fn copy(node: &FdtNode<'_>, depth: usize) -> Result<DeviceTreeNode, TreeError> {
    if depth > MAX_DEPTH {
        return Err(TreeError::TooDeep { limit: MAX_DEPTH });
    }
    let mut copied = DeviceTreeNode::new_unchecked(node.name());
    for property in node.properties().filter(|property| !property.name().starts_with(OURS)) {
        copied.add_property(DeviceTreeProperty::from_property(&property));
    }
    for child in node.children() {
        copied.add_child(copy(&child, depth.saturating_add(1))?);
    }
    Ok(copied)
}
