//! Pools of CPUs, and the scheduler of each.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::control::Bitmap;

/// The number of the scheduler credit2.
pub const SCHEDULER_CREDIT2: u32 = 6;

/// Payload of `sched_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedId {
    /// Out: the scheduler.
    pub sched_id: u32,
}

numbers! {
    /// What a [`CpuPoolOp`] is to do.
    CpuPoolOpKind: u32 {
        /// Makes a pool.
        Create = 1,
        /// Removes a pool.
        Destroy = 2,
        /// Describes the first pool whose number is not below `cpupool_id`.
        Info = 3,
        /// Gives a CPU to a pool.
        AddCpu = 4,
        /// Takes a CPU from a pool.
        RemoveCpu = 5,
        /// Gives a domain to a pool.
        MoveDomain = 6,
        /// Lists the CPUs that are in no pool.
        FreeInfo = 7,
    }
}

/// Payload of `cpupool_op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuPoolOp {
    /// A [`CpuPoolOpKind`].
    pub op: u32,
    /// The pool.
    pub cpupool_id: u32,
    /// The pool's scheduler.
    pub sched_id: u32,
    /// The domain to move.
    pub domid: u32,
    /// The CPU to move.
    pub cpu: u32,
    /// Out: domains in the pool.
    pub n_dom: u32,
    /// Out: CPUs.
    pub cpumap: Bitmap,
}

numbers! {
    /// What a [`SystemSchedulerOp`] is to do.
    SchedulerAction: u32 {
        /// Sets the parameters.
        PutInfo = 0,
        /// Reads the parameters.
        GetInfo = 1,
    }
}

/// Parameters of credit2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Credit2 {
    /// Microseconds that a vCPU runs at least before another of more merit takes its place.
    pub ratelimit_us: u32,
}

/// Payload of `scheduler_op`, with the parameters of credit2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemSchedulerOp {
    /// The pool.
    pub cpupool_id: u32,
    /// The scheduler that the caller believes to be there.
    pub sched_id: u32,
    /// A [`SchedulerAction`].
    pub cmd: u32,
    /// Ignored.
    pub pad: u32,
    /// The parameters.
    pub credit2: Credit2,
    /// Unused.
    pub pad2: u32,
    /// For other schedulers.
    pub rest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(SchedId, 4, 4, { sched_id: 0 });
        assert_layout!(CpuPoolOp, 40, 8, {
            op: 0, cpupool_id: 4, sched_id: 8, domid: 12, cpu: 16, n_dom: 20, cpumap: 24,
        });
        assert_layout!(SystemSchedulerOp, 32, 8, { cpupool_id: 0, sched_id: 4, cmd: 8, credit2: 16 });
    }
}
