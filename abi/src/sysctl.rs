//! Control of the machine (`public/sysctl.h`): one structure of 136 bytes, which goes in and comes back.

mod domains;
mod machine;
mod pool;
mod topology;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::control::Payload;

pub use domains::{GetDomainInfoList, ReadConsole};
pub use machine::{AvailHeap, CpuIdle, DebugKeys, GetCpuInfo, PhysInfo, capability};
pub use pool::{
    CpuPoolOp, CpuPoolOpKind, Credit2, SCHEDULER_CREDIT2, SchedId, SchedulerAction, SystemSchedulerOp,
};
pub use topology::{CpuTopo, CpuTopoInfo, INVALID_ID, NodeMemory, NumaInfo};

/// The interface version of Xen 4.17 and of Xen 4.20.
pub const INTERFACE_VERSION: u32 = 0x15;

numbers! {
    /// What a `sysctl` is to do.
    SysctlOp: u32 {
        /// Reads the console's output: [`ReadConsole`].
        ReadConsole = 1,
        /// Tracing.
        TbufOp = 2,
        /// Describes the machine: [`PhysInfo`].
        PhysInfo = 3,
        /// Names the scheduler: [`SchedId`].
        SchedId = 4,
        /// Performance counters of the hypervisor.
        PerfcOp = 5,
        /// Describes domains: [`GetDomainInfoList`].
        GetDomainInfoList = 6,
        /// As if keys were pressed on the hypervisor's console: [`DebugKeys`].
        DebugKeys = 7,
        /// Idle times of CPUs: [`GetCpuInfo`].
        GetCpuInfo = 8,
        /// Free memory: [`AvailHeap`].
        AvailHeap = 9,
        /// Power management.
        GetPmStat = 10,
        /// Turns CPUs on and off.
        CpuHotplug = 11,
        /// Power management.
        PmOp = 12,
        /// Takes pages out of use.
        PageOfflineOp = 14,
        /// Counts waits for locks.
        LockprofOp = 15,
        /// Which CPU is where: [`CpuTopoInfo`].
        CpuTopoInfo = 16,
        /// Memory by nodes: [`NumaInfo`].
        NumaInfo = 17,
        /// Pools of CPUs: [`CpuPoolOp`].
        CpuPoolOp = 18,
        /// Parameters of the scheduler: [`SystemSchedulerOp`].
        SchedulerOp = 19,
        /// Test coverage.
        CoverageOp = 20,
        /// Which PCI device is where.
        PciTopoInfo = 22,
        /// Live patches.
        LivepatchOp = 27,
        /// Device-tree overlays (since 4.20).
        DtOverlay = 30,
    }
}

/// A `sysctl`: header and payload.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysctl {
    /// A [`SysctlOp`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// The operation's own structure.
    pub payload: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Sysctl, 136, 8, { cmd: 0, interface_version: 4, payload: 8 });
    }
}
