//! Where CPUs and memory are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::GuestPtr;

/// A core, socket or node that does not exist (`XEN_INVALID_*_ID`).
pub const INVALID_ID: u32 = u32::MAX;

/// Payload of `cputopoinfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuTopoInfo {
    /// Elements of the buffer. Out: elements written, or without a buffer those that there are.
    pub num_cpus: u32,
    /// Ignored.
    pub pad: u32,
    /// Where the places go, or null.
    pub cputopo: GuestPtr<CpuTopo>,
}

/// Where a CPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuTopo {
    /// Its core.
    pub core: u32,
    /// Its socket.
    pub socket: u32,
    /// Its node.
    pub node: u32,
}

/// Payload of `numainfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NumaInfo {
    /// Nodes that the buffers have room for. Out: nodes written, or without buffers those that there are.
    pub num_nodes: u32,
    /// Ignored.
    pub pad: u32,
    /// Where the nodes' memory goes, or null.
    pub meminfo: GuestPtr<NodeMemory>,
    /// Where the square of distances goes, 10 for a node to itself; or null.
    pub distance: GuestPtr<u32>,
}

/// Memory of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeMemory {
    /// Bytes.
    pub memsize: u64,
    /// Bytes that are free.
    pub memfree: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(CpuTopoInfo, 16, 8, { num_cpus: 0, cputopo: 8 });
        assert_layout!(CpuTopo, 12, 4, { core: 0, socket: 4, node: 8 });
        assert_layout!(NumaInfo, 24, 8, { num_nodes: 0, meminfo: 8, distance: 16 });
        assert_layout!(NodeMemory, 16, 8, { memsize: 0, memfree: 8 });
    }
}
