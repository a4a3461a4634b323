//! What a machine starts.

use std::path::PathBuf;

use super::static_shm::StaticShared;

/// What the machine starts.
#[derive(Clone, Debug)]
pub enum Boot {
    /// The hypervisor, which starts domains from the modules beside it.
    Hypervisor {
        /// The image.
        image: PathBuf,
        /// Its command line.
        args: String,
        /// The first domain's kernel; a machine without one is good for a test of the message.
        kernel: Option<PathBuf>,
        /// The first domain's initial file system.
        initrd: Option<PathBuf>,
        /// The first domain's command line.
        bootargs: String,
        /// Domains that start beside the first one, with no toolstack.
        domains: Vec<BootDomain>,
        /// What the first domain shares with those.
        static_shared: StaticShared,
    },
    /// Linux itself, with nothing under it: what the hypervisor is measured against.
    Linux {
        /// The kernel.
        kernel: PathBuf,
        /// The initial file system.
        initrd: PathBuf,
        /// The command line.
        bootargs: String,
    },
}

/// A domain that the hypervisor itself starts: a node `xen,domain` in the device tree.
#[derive(Clone, Debug, Default)]
pub struct BootDomain {
    /// The node's name.
    pub name: String,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initial file system.
    pub ramdisk: Option<PathBuf>,
    /// Its command line.
    pub bootargs: String,
    /// What it is beside a guest: bits of Xen's `capabilities`, 1 for control, 2 for the hardware domain.
    pub capabilities: u32,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// It has an emulated PL011, which is its console.
    pub vpl011: bool,
    /// Its guest addresses are machine addresses: what a device's DMA needs where there is no IOMMU.
    pub direct_map: bool,
    /// Slots of virtio-mmio (see [`DiskBus::MmioSlot`](super::DiskBus::MmioSlot)) that it owns.
    pub passthrough: Vec<u32>,
    /// It is told about xenstore, too.
    pub xenstore: bool,
    /// What it shares with others.
    pub static_shared: StaticShared,
}
