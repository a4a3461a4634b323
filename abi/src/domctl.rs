//! Control of domains (`public/domctl.h`): one structure of 144 bytes, which goes in and comes back.
//!
//! The interface version stands in the call and decides layouts and meanings: 0x15 is Xen 4.17, 0x17 is Xen 4.20.

mod context;
mod create;
mod device;
mod info;
mod memory;
mod vcpu;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::DomId;

use crate::control::Payload;

pub use context::{CONTEXT_ONLINE, VcpuContext, VcpuGuestContext, VcpuGuestCoreRegs};
pub use create::{
    ArchDomainConfig, CreateDomain, CreateDomainV15, GIC_NATIVE, GRANT_VERSION_MASK, GicVersion, ROVER,
    create_flag,
};
pub use device::{
    AssignDevice, BindPtIrq, DEVICE_DT, IomemPermission, IrqPermission, MEMORY_MAPPING_PAGES, MemoryMapping,
    PT_IRQ_SPI, SetTarget, SetVirqHandler, VUART_INIT, VUART_VPL011, VuartOp,
};
pub use info::{ArchDomainInfo, DomainInfo, SHUTDOWN_REASON_NONE, SHUTDOWN_REASON_SHIFT, info_flag};
pub use memory::{AddressSize, CacheFlush, MaxMem, PagingMempool, SetLlcColors};
pub use vcpu::{
    AFFINITY_FORCE, AFFINITY_HARD, AFFINITY_SOFT, DomainSchedulerOp, MaxVcpus, NodeAffinity,
    SchedulerCommand, SetDomainHandle, VcpuAffinity, VcpuInfo,
};

/// The interface version of Xen 4.17.
pub const VERSION_4_17: u32 = 0x15;
/// The interface version of Xen 4.18 and 4.19.
pub const VERSION_4_18: u32 = 0x16;
/// The interface version of Xen 4.20.
pub const VERSION_4_20: u32 = 0x17;

numbers! {
    /// What a `domctl` is to do. Numbers that only other machines have are left out.
    DomctlOp: u32 {
        /// Makes a domain: [`CreateDomain`] or [`CreateDomainV15`].
        CreateDomain = 1,
        /// Destroys a domain.
        DestroyDomain = 2,
        /// Stops a domain until it is unpaused as often.
        PauseDomain = 3,
        /// Takes one pause back.
        UnpauseDomain = 4,
        /// Describes a domain: [`DomainInfo`].
        GetDomainInfo = 5,
        /// Where a vCPU may run: [`VcpuAffinity`].
        SetVcpuAffinity = 9,
        /// Migration.
        ShadowOp = 10,
        /// The most memory that a domain may have: [`MaxMem`].
        MaxMem = 11,
        /// Sets a vCPU's registers: [`VcpuContext`].
        SetVcpuContext = 12,
        /// Reads a vCPU's registers: [`VcpuContext`].
        GetVcpuContext = 13,
        /// Describes a vCPU: [`VcpuInfo`].
        GetVcpuInfo = 14,
        /// How many vCPUs the domain has: [`MaxVcpus`].
        MaxVcpus = 15,
        /// Shares of CPU time: [`DomainSchedulerOp`].
        SchedulerOp = 16,
        /// Changes the UUID: [`SetDomainHandle`].
        SetDomainHandle = 17,
        /// Debugging of the domain.
        SetDebugging = 18,
        /// Lets a domain have an interrupt: [`IrqPermission`].
        IrqPermission = 19,
        /// Lets a domain have device memory: [`IomemPermission`].
        IomemPermission = 20,
        /// Shifts the domain's wall clock.
        SetTimeOffset = 24,
        /// Where a vCPU may run: [`VcpuAffinity`].
        GetVcpuAffinity = 25,
        /// Lets a domain that has suspended itself go on.
        ResumeDomain = 27,
        /// Injects an event of another machine.
        SendTrigger = 28,
        /// Saved state.
        GetHvmContext = 33,
        /// Saved state.
        SetHvmContext = 34,
        /// Whether the domain is AArch64 or AArch32: [`AddressSize`].
        SetAddressSize = 35,
        /// Whether the domain is AArch64 or AArch32: [`AddressSize`].
        GetAddressSize = 36,
        /// Gives a device to a domain: [`AssignDevice`].
        AssignDevice = 37,
        /// Gives an interrupt to a domain: [`BindPtIrq`].
        BindPtIrq = 38,
        /// Maps device memory: [`MemoryMapping`].
        MemoryMapping = 39,
        /// Whether a device can be given: [`AssignDevice`].
        TestAssignDevice = 45,
        /// Makes a domain the device model of another: [`SetTarget`].
        SetTarget = 46,
        /// Takes a device back: [`AssignDevice`].
        DeassignDevice = 47,
        /// Takes an interrupt back: [`BindPtIrq`].
        UnbindPtIrq = 48,
        /// Which devices go together.
        GetDeviceGroup = 50,
        /// What is behind frames, for migration.
        GetPageFrameInfo3 = 61,
        /// Sends a global virtual interrupt to another domain: [`SetVirqHandler`].
        SetVirqHandler = 66,
        /// On which nodes the domain's memory should be: [`NodeAffinity`].
        SetNodeAffinity = 68,
        /// On which nodes the domain's memory should be: [`NodeAffinity`].
        GetNodeAffinity = 69,
        /// Writes memory back from the caches: [`CacheFlush`].
        CacheFlush = 71,
        /// Restarts a domain with its memory kept.
        SoftReset = 79,
        /// A UART that the hypervisor emulates: [`VuartOp`].
        VuartOp = 81,
        /// Memory for the domain's stage-2 tables: [`PagingMempool`].
        GetPagingMempoolSize = 85,
        /// Memory for the domain's stage-2 tables: [`PagingMempool`].
        SetPagingMempoolSize = 86,
        /// Device-tree overlays (since 4.20).
        DtOverlay = 87,
        /// Interrupts of another machine (since 4.20).
        GsiPermission = 88,
        /// Parts of the last-level cache (since 4.20): [`SetLlcColors`].
        SetLlcColors = 89,
    }
}

/// A `domctl`: header and payload.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Domctl {
    /// A [`DomctlOp`].
    pub cmd: u32,
    /// [`VERSION_4_17`] or [`VERSION_4_20`].
    pub interface_version: u32,
    /// The domain.
    pub domain: DomId,
    /// Ignored.
    pub pad: [u16; 3],
    /// The operation's own structure.
    pub payload: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Domctl, 144, 8, { cmd: 0, interface_version: 4, domain: 8, pad: 10, payload: 16 });
    }
}
