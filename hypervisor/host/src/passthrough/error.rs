//! Why a device cannot be passed through, in words for the one who wrote the trees.

use alloc::string::String;
use core::fmt;

use crate::platform::{PlatformError, Region};
use xenolith_core::types::Intid;

/// What two claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Pages of registers.
    Pages(Region),
    /// An interrupt, by INTID.
    Interrupt(Intid),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Pages(region) => write!(f, "the pages {region}"),
            Resource::Interrupt(Intid(intid)) => write!(f, "interrupt {intid}"),
        }
    }
}

/// What is wrong with a partial device tree, or with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassthroughError {
    /// The partial tree cannot be read.
    Tree(PlatformError),
    /// It has no node `/passthrough`.
    NoPassthrough,
    /// A property makes no sense.
    BadProperty {
        /// The node in the partial tree.
        node: String,
        /// The property's name.
        property: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `xen,path` names no node of the host's tree.
    NoHostNode {
        /// The node in the partial tree.
        node: String,
        /// What it names.
        host: String,
    },
    /// The host's node has no `xen,passthrough`, so that it is the first domain's.
    NotPassedThrough {
        /// The node in the partial tree.
        node: String,
        /// The host's node.
        host: String,
    },
    /// No IOMMU confines the device, and the tree does not say that this is meant.
    NoIommu {
        /// The node in the partial tree.
        node: String,
    },
    /// The guest is told about an interrupt that the host's device has not.
    ForeignInterrupt {
        /// The node in the partial tree.
        node: String,
        /// The interrupt.
        intid: Intid,
        /// The host's node.
        host: String,
    },
    /// The addresses are those of memory.
    Memory {
        /// The node in the partial tree.
        node: String,
        /// The addresses.
        region: Region,
    },
    /// It belongs to somebody else.
    Taken {
        /// The node in the partial tree.
        node: String,
        /// What it asks for.
        resource: Resource,
        /// Whose it is: "the first domain's", and so on.
        owner: String,
        /// The node by which it is that one's.
        by: String,
    },
}

impl fmt::Display for PassthroughError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PassthroughError as E;
        match self {
            E::Tree(error) => write!(f, "the partial device tree: {error}"),
            E::NoPassthrough => write!(f, "the partial device tree has no node /passthrough"),
            E::BadProperty { node, property, problem } => {
                write!(f, "partial device tree node {node}: `{property}` {problem}")
            }
            E::NoHostNode { node, host } => {
                write!(
                    f,
                    "partial device tree node {node}: `xen,path` names {host}, which the host's tree has not"
                )
            }
            E::NotPassedThrough { node, host } => write!(
                f,
                "partial device tree node {node}: the host's {host} belongs to the first domain (it has no \
                 `xen,passthrough`)"
            ),
            E::NoIommu { node } => write!(
                f,
                "partial device tree node {node}: no IOMMU confines the device's DMA; if that is meant, say \
                 `xen,force-assign-without-iommu`"
            ),
            E::ForeignInterrupt { node, intid: Intid(intid), host } => write!(
                f,
                "partial device tree node {node}: `interrupts` names interrupt {intid}, which is not one of the \
                 host's {host}"
            ),
            E::Memory { node, region } => {
                write!(
                    f,
                    "partial device tree node {node}: `xen,reg` names {region}, which is the machine's memory"
                )
            }
            E::Taken { node, resource, owner, by } => {
                write!(
                    f,
                    "partial device tree node {node}: {resource} cannot be its own, being {owner} by {by}"
                )
            }
        }
    }
}

impl core::error::Error for PassthroughError {}
