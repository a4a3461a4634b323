//! Device trees to be damaged: the machine's own, read, edited and written back.

use std::path::Path;

use anyhow::{Result, ensure};
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use crate::setup::Setup;

/// The device tree that QEMU would hand to the hypervisor of this machine. `scratch` is the test's folder.
pub fn of_machine(setup: &Setup, scratch: &Path) -> Result<DeviceTree> {
    setup.machine()?.tree(&scratch.join("machine.dtb"))
}

/// Removes every child of the root that names `compatible`. Fails when there is none.
pub fn remove_compatible(tree: &mut DeviceTree, compatible: &str) -> Result<()> {
    let doomed: Vec<String> = tree
        .root
        .children()
        .filter(|node| is_compatible(node, compatible))
        .map(|node| node.name().to_string())
        .collect();
    ensure!(!doomed.is_empty(), "no node is compatible with {compatible}");
    for name in doomed {
        tree.root.remove_child(&name);
    }
    Ok(())
}

fn is_compatible(node: &DeviceTreeNode, compatible: &str) -> bool {
    node.property("compatible").is_some_and(|property| {
        property.value().split(|&byte| byte == 0).any(|one| one == compatible.as_bytes())
    })
}
