//! Making nodes: what a property's value is as data, so that one function writes all of them.

use alloc::vec::Vec;

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};

/// A property's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// None: that the property is there says it.
    Flag,
    /// As it is in the flattened tree.
    Bytes(&'a [u8]),
    /// One cell.
    Cell(u32),
    /// Cells.
    Cells(&'a [u32]),
    /// A number of two cells.
    Long(u64),
    /// A text.
    Text(&'a str),
    /// Texts.
    Texts(&'a [&'a str]),
}

impl Value<'_> {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Value::Flag => {}
            Value::Bytes(value) => bytes.extend_from_slice(value),
            Value::Cell(value) => bytes.extend_from_slice(&value.to_be_bytes()),
            Value::Cells(values) => {
                values.iter().for_each(|value| bytes.extend_from_slice(&value.to_be_bytes()))
            }
            Value::Long(value) => bytes.extend_from_slice(&value.to_be_bytes()),
            Value::Text(text) => push_text(&mut bytes, text),
            Value::Texts(texts) => texts.iter().for_each(|text| push_text(&mut bytes, text)),
        }
        bytes
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

/// A node with these properties, in this order.
#[inline(never)]
pub fn node(name: &str, properties: &[(&str, Value<'_>)]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    properties.iter().for_each(|&(name, value)| put(&mut node, name, value));
    node
}

/// Gives a node a property, in the place of one that has the name.
#[inline(never)]
pub fn put(node: &mut DeviceTreeNode, name: &str, value: Value<'_>) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value.to_bytes()));
}

/// Static shared memory of a domain, as a child of `/reserved-memory` (Linux,
/// `reserved-memory/xen,shared-memory.txt`). It sees all of it, so that its offset is 0.
pub fn put_static_shm(parent: &mut DeviceTreeNode, memory: &super::StaticShm<'_>, reg: &[u8]) {
    parent.add_child(node(
        &alloc::format!("xen-shmem@{:x}", memory.place.start),
        &[
            ("compatible", Value::Text("xen,shared-memory-v1")),
            ("reg", Value::Bytes(reg)),
            ("xen,offset", Value::Long(0)),
            ("xen,id", Value::Text(memory.id)),
        ],
    ));
}
