//! Putting the nodes together.

use alloc::format;
use alloc::vec::Vec;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::node::Value::{Cell, Text, Texts};
use super::node::node;
use super::nodes;
use super::{GIC_PHANDLE, Spec, TreeError};

/// Bytes of a tree at most (Linux, Documentation/arch/arm64/booting.rst, section 2).
const MAX_TREE: usize = 2 << 20;

/// The flattened tree of a guest.
///
/// # Errors
///
/// [`TreeError`] names what in `spec` cannot be shown.
pub fn build(spec: &Spec<'_>) -> Result<Vec<u8>, TreeError> {
    let limit = spec.gic.max_vcpus();
    if spec.vcpus == 0 {
        return Err(TreeError::NoVcpus);
    }
    if spec.vcpus > limit {
        return Err(TreeError::TooManyVcpus { vcpus: spec.vcpus, limit });
    }
    if spec.memory.is_empty() {
        return Err(TreeError::NoMemory);
    }
    let mut tree = DeviceTree::new();
    tree.root = root(spec)?;
    let dtb = tree.to_dtb();
    if dtb.len() > MAX_TREE {
        return Err(TreeError::TooLarge { size: dtb.len(), limit: MAX_TREE });
    }
    Ok(dtb)
}

fn root(spec: &Spec<'_>) -> Result<DeviceTreeNode, TreeError> {
    let (major, minor) = spec.version;
    let phandle = spec.partial.and_then(|partial| partial.gic_phandle).unwrap_or(GIC_PHANDLE);
    let mut root = node(
        "",
        &[
            ("model", Text(&format!("XENVM-{major}.{minor}"))),
            ("compatible", Texts(&[&format!("xen,xenvm-{major}.{minor}"), "xen,xenvm"])),
            ("interrupt-parent", Cell(phandle)),
            ("#address-cells", Cell(2)),
            ("#size-cells", Cell(2)),
        ],
    );
    root.add_child(nodes::chosen(spec)?);
    root.add_child(nodes::cpus(spec.vcpus));
    root.add_child(nodes::psci());
    for &bank in spec.memory {
        root.add_child(nodes::memory(bank)?);
    }
    if !spec.static_shm.is_empty() {
        root.add_child(nodes::reserved_memory(spec.static_shm)?);
    }
    root.add_child(nodes::interrupt_controller(&spec.gic, phandle)?);
    root.add_child(nodes::timer(&spec.timer)?);
    if let Some(hypervisor) = &spec.hypervisor {
        root.add_child(nodes::hypervisor(spec.version, hypervisor)?);
    }
    for device in spec.virtio {
        root.add_child(nodes::virtio(device)?);
    }
    if let Some(uart) = &spec.uart {
        root.add_child(nodes::uart(uart)?);
    }
    if let Some(partial) = spec.partial {
        for node in [&partial.aliases, &partial.passthrough].into_iter().flatten() {
            root.add_child(node.clone());
        }
    }
    Ok(root)
}
