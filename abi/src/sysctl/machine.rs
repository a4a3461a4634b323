//! The machine: CPUs, memory, and what the hypervisor can do on it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::GuestPtr;

/// Bits of [`PhysInfo::capabilities`] (`XEN_SYSCTL_PHYSCAP_*`).
pub mod capability {
    /// Domains with hardware virtualisation.
    pub const HVM: u32 = 1 << 0;
    /// Paravirtualised domains (other machines).
    pub const PV: u32 = 1 << 1;
    /// Devices can be given to domains behind an IOMMU.
    pub const DIRECTIO: u32 = 1 << 2;
    /// Stage 2 in hardware.
    pub const HAP: u32 = 1 << 3;
    /// Shadow paging (other machines).
    pub const SHADOW: u32 = 1 << 4;
    /// IOMMU and CPU share tables.
    pub const IOMMU_HAP_PT_SHARE: u32 = 1 << 5;
    /// Tracing of vCPUs.
    pub const VMTRACE: u32 = 1 << 6;
    /// Performance counters for domains.
    pub const VPMU: u32 = 1 << 7;
    /// Grant tables of version 1.
    pub const GNTTAB_V1: u32 = 1 << 8;
    /// Grant tables of version 2.
    pub const GNTTAB_V2: u32 = 1 << 9;
}

/// Payload of `physinfo`. All of it is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysInfo {
    /// Threads of each core.
    pub threads_per_core: u32,
    /// Cores of each socket.
    pub cores_per_socket: u32,
    /// CPUs that are up.
    pub nr_cpus: u32,
    /// The highest number of a CPU.
    pub max_cpu_id: u32,
    /// Nodes.
    pub nr_nodes: u32,
    /// The highest number of a node.
    pub max_node_id: u32,
    /// The counter's frequency.
    pub cpu_khz: u32,
    /// Bits of [`capability`].
    pub capabilities: u32,
    /// Since 4.20: vector length of SVE in units of 128 bits, in bits 4:0.
    pub arch_capabilities: u32,
    /// Unused.
    pub pad: u32,
    /// Pages of RAM.
    pub total_pages: u64,
    /// Pages that are free.
    pub free_pages: u64,
    /// Free pages that are still to be wiped, and cannot be had until then.
    pub scrub_pages: u64,
    /// Pages that were claimed.
    pub outstanding_pages: u64,
    /// The highest frame of RAM.
    pub max_mfn: u64,
    /// CPU features (other machines).
    pub hw_cap: [u32; 8],
}

/// Payload of `getcpuinfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetCpuInfo {
    /// Elements of the buffer.
    pub max_cpus: u32,
    /// Ignored.
    pub pad1: u32,
    /// Where the times go.
    pub info: GuestPtr<CpuIdle>,
    /// Out: elements written.
    pub nr_cpus: u32,
    /// Ignored.
    pub pad2: u32,
}

/// How a CPU spends its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuIdle {
    /// Nanoseconds without a vCPU.
    pub idletime: u64,
}

/// Payload of `availheap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AvailHeap {
    /// Only memory above this width of address; 0 is no limit.
    pub min_bitwidth: u32,
    /// Only memory below this width of address; 0 is no limit.
    pub max_bitwidth: u32,
    /// The node; negative is all.
    pub node: i32,
    /// Ignored.
    pub pad: u32,
    /// Out: free bytes.
    pub avail_bytes: u64,
}

/// Payload of `debug_keys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DebugKeys {
    /// The characters.
    pub keys: GuestPtr<u8>,
    /// Number of characters.
    pub nr_keys: u32,
    /// Ignored.
    pub pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(PhysInfo, 112, 8, {
            threads_per_core: 0, cores_per_socket: 4, nr_cpus: 8, max_cpu_id: 12, nr_nodes: 16, max_node_id: 20,
            cpu_khz: 24, capabilities: 28, arch_capabilities: 32, total_pages: 40, free_pages: 48, scrub_pages: 56,
            outstanding_pages: 64, max_mfn: 72, hw_cap: 80,
        });
        assert_layout!(GetCpuInfo, 24, 8, { max_cpus: 0, info: 8, nr_cpus: 16 });
        assert_layout!(CpuIdle, 8, 8, { idletime: 0 });
        assert_layout!(AvailHeap, 24, 8, { min_bitwidth: 0, max_bitwidth: 4, node: 8, avail_bytes: 16 });
        assert_layout!(DebugKeys, 16, 8, { keys: 0, nr_keys: 8 });
    }

    #[test]
    fn tools_of_xen_see_these_capabilities_without_an_iommu() {
        assert_eq!(capability::HVM | capability::HAP | capability::VPMU | capability::GNTTAB_V1, 0x189);
    }
}
