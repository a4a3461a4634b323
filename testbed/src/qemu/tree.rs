//! QEMU's own device tree, to be read, edited and written back.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Property, ToPropertyValue};

use crate::process::capture;

/// The device tree of the machine that `command` would start. It goes through the file `scratch`.
pub fn read(mut command: Command, scratch: &Path) -> Result<DeviceTree> {
    let mut dump = OsString::from("dumpdtb=");
    dump.push(scratch);
    capture(command.arg("-machine").arg(dump))?;
    let bytes = fs::read(scratch)?;
    let tree = Fdt::new(&bytes).map_err(|error| anyhow!("QEMU's device tree: {error}"))?;
    Ok(DeviceTree::from_fdt(&tree))
}

/// Gives a node a property, in the place of one of the same name.
pub(super) fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) -> Result<()> {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value)?);
    Ok(())
}

/// Gives a node a property that has no value.
pub(super) fn mark(node: &mut DeviceTreeNode, name: &str) -> Result<()> {
    set(node, name, Vec::<u8>::new())
}

/// The numbers of a property that is a list of 32-bit cells.
pub(super) fn cells(node: &DeviceTreeNode, name: &str) -> Option<Vec<u32>> {
    use dtoolkit::Node;
    let property = node.property(name)?;
    let (cells, rest) = property.value().as_chunks::<4>();
    rest.is_empty().then(|| cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect())
}

/// A 64-bit number as two cells.
pub(super) fn pair(value: u64) -> [u32; 2] {
    // Each half fits by construction.
    [u32::try_from(value >> 32).unwrap_or(0), u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)]
}
