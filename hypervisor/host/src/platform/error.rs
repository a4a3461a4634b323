//! What can be wrong with a host's device tree. Each message names the node or the property, so that the person who
//! wrote the boot script or the tree knows where to look.

use alloc::string::String;
use core::fmt;

use super::module::ModuleKind;
use super::region::Region;

/// Why the host's device tree does not describe a machine that the hypervisor can run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformError {
    /// Fewer bytes than the tree's own header says, or than a header has.
    Truncated {
        /// Bytes that are there.
        has: usize,
        /// Bytes that there must be.
        wants: usize,
    },
    /// The first word is not the device tree's magic number.
    BadMagic(u32),
    /// The header's total size is more than the arm64 boot protocol allows.
    TooLarge(usize),
    /// The blocks, tokens or names inside are damaged.
    Damaged {
        /// What is wrong, as what the tree does.
        problem: &'static str,
        /// The offset of the byte where that shows.
        at: usize,
    },
    /// More nodes than any real tree has.
    TooManyNodes,
    /// More memory banks or reserved ranges than the hypervisor keeps.
    TooManyRanges {
        /// The node with the first one that is too many; `None` is the header's memory reservation block.
        node: Option<String>,
        /// The most ranges that are kept.
        limit: usize,
    },
    /// A property of a node that the hypervisor needs is missing or makes no sense.
    BadProperty {
        /// The node's path.
        node: String,
        /// The property's name.
        property: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A property of two nodes that have to fit together does not.
    Disagree {
        /// The nodes' paths, the earlier one first.
        nodes: [String; 2],
        /// The property's name.
        property: &'static str,
        /// What is wrong with the two.
        problem: &'static str,
    },
    /// No enabled node with `device_type = "memory"`, or they are all empty.
    NoMemory,
    /// No CPU under `/cpus`.
    NoCpu,
    /// No GICv2 or GICv3 node.
    NoInterruptController,
    /// No `arm,armv8-timer` node.
    NoTimer,
    /// No module under `/chosen` is a kernel, and there are no nodes of domains.
    NoKernel,
    /// A boot-time domain has no kernel.
    NoDomainKernel {
        /// The domain's node.
        node: String,
    },
    /// More modules than the hypervisor keeps.
    TooManyModules {
        /// The most modules that it keeps.
        limit: usize,
    },
    /// A module is not, or not wholly, in one memory bank.
    ModuleOutsideMemory {
        /// The module's node.
        node: String,
        /// What it is.
        kind: ModuleKind,
        /// Where it claims to be.
        region: Region,
    },
    /// Two modules have bytes in common.
    ModulesOverlap {
        /// The nodes of the two.
        nodes: [String; 2],
        /// Where they claim to be.
        regions: [Region; 2],
    },
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PlatformError as E;
        match self {
            E::Truncated { has, wants } => {
                write!(f, "the device tree is truncated: {wants} bytes are needed, {has} are there")
            }
            E::BadMagic(word) => {
                write!(f, "this is no device tree: it starts with {word:#010x}, not 0xd00dfeed")
            }
            E::TooLarge(size) => write!(f, "the device tree claims {size} bytes; at most 2 MiB are allowed"),
            E::Damaged { problem, at } => {
                write!(f, "the device tree is damaged: it {problem} (byte {at:#x})")
            }
            E::TooManyNodes => write!(f, "the device tree has too many nodes"),
            E::TooManyRanges { node: Some(node), limit } => {
                write!(f, "device tree node {node}: there are more than {limit} ranges of memory of its kind")
            }
            E::TooManyRanges { node: None, limit } => {
                write!(f, "the device tree's memory reservation block has more than {limit} entries")
            }
            E::BadProperty { node, property, problem } => {
                write!(f, "device tree node {node}: `{property}` {problem}")
            }
            E::Disagree { nodes: [one, other], property, problem } => {
                write!(f, "device tree nodes {one} and {other}: `{property}` {problem}")
            }
            E::NoMemory => {
                write!(f, "the device tree has no enabled node with device_type \"memory\" and a size")
            }
            E::NoCpu => write!(f, "the device tree has no CPU under /cpus"),
            E::NoInterruptController => write!(
                f,
                "the device tree has no interrupt controller that is an enabled GICv2 (arm,gic-400, \
                 arm,cortex-a15-gic, arm,cortex-a7-gic) or GICv3 (arm,gic-v3)"
            ),
            E::NoTimer => {
                write!(f, "the device tree has no generic timer (a node compatible with arm,armv8-timer)")
            }
            E::NoKernel => write!(
                f,
                "the device tree has no kernel module (a child of /chosen compatible with multiboot,module and \
                 multiboot,kernel) and no domain (one compatible with xen,domain)"
            ),
            E::NoDomainKernel { node } => write!(
                f,
                "device tree node {node} has no kernel: a child compatible with multiboot,module and multiboot,kernel"
            ),
            E::TooManyModules { limit } => write!(f, "/chosen has more than {limit} boot modules"),
            E::ModuleOutsideMemory { node, kind, region } => {
                write!(f, "boot module {node} ({kind}) at {region} does not lie in the machine's memory")
            }
            E::ModulesOverlap { nodes: [one, other], regions: [here, there] } => {
                write!(f, "boot modules {one} at {here} and {other} at {there} overlap")
            }
        }
    }
}

impl core::error::Error for PlatformError {}
