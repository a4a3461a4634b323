//! Hypercall numbers (`public/xen.h`) and the calling convention on arm64 (`public/arch-arm.h`).
//!
//! The number stands in x16, up to five arguments in x0 to x4, the result in x0. A number that is not here is
//! answered with `ENOSYS`.

/// The immediate of the HVC instruction that makes a hypercall. A HVC with immediate 0 is a PSCI or SMCCC call.
pub const HVC_IMMEDIATE: u16 = 0xea1;

numbers! {
    /// A call's number, as x16 holds it.
    Hypercall: u64 {
        /// `sched_op` in its first form.
        SchedOpCompat = 6,
        /// Platform operations of the hardware domain: the wall clock.
        PlatformOp = 7,
        /// Physical memory of a domain.
        MemoryOp = 12,
        /// A list of calls.
        Multicall = 13,
        /// `event_channel_op` in its first form.
        EventChannelOpCompat = 16,
        /// Version, features and build information.
        XenVersion = 17,
        /// The hypervisor's own console.
        ConsoleIo = 18,
        /// `physdev_op` in its first form.
        PhysdevOpCompat = 19,
        /// Grant tables.
        GrantTableOp = 20,
        /// Options of the calling domain.
        VmAssist = 21,
        /// Operations on a virtual CPU.
        VcpuOp = 24,
        /// The security module.
        XsmOp = 27,
        /// Scheduling and shutdown.
        SchedOp = 29,
        /// Event channels.
        EventChannelOp = 32,
        /// Physical devices.
        PhysdevOp = 33,
        /// Parameters of a domain with hardware virtualisation, which every domain on Arm is.
        HvmOp = 34,
        /// Control of the whole machine.
        Sysctl = 35,
        /// Control of a domain.
        Domctl = 36,
        /// Argo.
        ArgoOp = 39,
        /// Calls of a device model.
        DmOp = 41,
        /// The hypervisor's file system.
        HypfsOp = 42,
        /// Our own calls ([`crate::xenolith`]).
        Xenolith = 0x1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_calls_has_its_number() {
        assert_eq!(Hypercall::from_number(32), Some(Hypercall::EventChannelOp));
        assert_eq!(Hypercall::from_number(12), Some(Hypercall::MemoryOp));
        assert_eq!(Hypercall::from_number(u64::MAX), None);
        assert_eq!(Hypercall::from_number((1 << 32) | 32), None);
    }
}
