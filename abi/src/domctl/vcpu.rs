//! vCPUs: how many, where, and how large their share is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::control::Bitmap;

/// Bit of [`VcpuAffinity::flags`]: the CPUs on which the vCPU may run.
pub const AFFINITY_HARD: u32 = 1 << 0;
/// Bit of [`VcpuAffinity::flags`]: the CPUs on which it should run.
pub const AFFINITY_SOFT: u32 = 1 << 1;
/// Bit of [`VcpuAffinity::flags`]: also against a restriction that the hypervisor itself has put on the vCPU.
pub const AFFINITY_FORCE: u32 = 1 << 2;

/// Payload of `max_vcpus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaxVcpus {
    /// As many as the domain was created with.
    pub max: u32,
}

/// Payload of `setdomainhandle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetDomainHandle {
    /// The UUID.
    pub handle: [u8; 16],
}

/// Payload of `setvcpuaffinity` and `getvcpuaffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuAffinity {
    /// The vCPU.
    pub vcpu: u32,
    /// Which of the two: [`AFFINITY_HARD`], [`AFFINITY_SOFT`], or both; [`AFFINITY_FORCE`] can stand beside them.
    pub flags: u32,
    /// The CPUs on which it may run. Out: which it now may.
    pub cpumap_hard: Bitmap,
    /// The CPUs on which it should run. Out: which of those it may.
    pub cpumap_soft: Bitmap,
}

/// Payload of `setnodeaffinity` and `getnodeaffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeAffinity {
    /// The nodes.
    pub nodemap: Bitmap,
}

/// Payload of `getvcpuinfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// In: the vCPU.
    pub vcpu: u32,
    /// It is on.
    pub online: u8,
    /// It sleeps.
    pub blocked: u8,
    /// It runs.
    pub running: u8,
    /// Unused.
    pub pad1: u8,
    /// Nanoseconds that it has run.
    pub cpu_time: u64,
    /// The CPU on which it runs, or ran last.
    pub cpu: u32,
    /// Unused.
    pub pad2: u32,
}

numbers! {
    /// What a [`DomainSchedulerOp`] is to do.
    SchedulerCommand: u32 {
        /// Sets the parameters of all vCPUs.
        PutInfo = 0,
        /// Reads the parameters of all vCPUs.
        GetInfo = 1,
        /// Sets those of single vCPUs (other schedulers).
        PutVcpuInfo = 2,
        /// Reads those of single vCPUs (other schedulers).
        GetVcpuInfo = 3,
    }
}

/// Payload of `scheduler_op`, with the parameters of credit and credit2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainSchedulerOp {
    /// The scheduler that the caller believes to be there.
    pub sched_id: u32,
    /// A [`SchedulerCommand`].
    pub cmd: u32,
    /// The domain's share.
    pub weight: u16,
    /// The most that it gets, in percent of a CPU; 0 is no limit.
    pub cap: u16,
    /// Unused.
    pub pad: u32,
    /// For other schedulers.
    pub rest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(MaxVcpus, 4, 4, { max: 0 });
        assert_layout!(SetDomainHandle, 16, 1, { handle: 0 });
        assert_layout!(VcpuAffinity, 40, 8, { vcpu: 0, flags: 4, cpumap_hard: 8, cpumap_soft: 24 });
        assert_layout!(NodeAffinity, 16, 8, { nodemap: 0 });
        assert_layout!(VcpuInfo, 24, 8, { vcpu: 0, online: 4, blocked: 5, running: 6, cpu_time: 8, cpu: 16 });
        assert_layout!(DomainSchedulerOp, 24, 8, { sched_id: 0, cmd: 4, weight: 8, cap: 10 });
    }
}
