//! Scheduling and shutdown (`public/sched.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, GuestPtr, Port};

numbers! {
    /// A sub-operation of `sched_op`.
    SchedOp: u32 {
        /// Lets others run.
        Yield = 0,
        /// Waits until an event or an interrupt is pending, with interrupts enabled.
        Block = 1,
        /// Shuts the calling domain down.
        Shutdown = 2,
        /// Waits until one of some ports is pending.
        Poll = 3,
        /// Shuts another domain down.
        RemoteShutdown = 4,
        /// Gives the reason of a shutdown that comes later.
        ShutdownCode = 5,
        /// Starts, refreshes or stops a watchdog.
        Watchdog = 6,
        /// Keeps the calling vCPU on one CPU for a while.
        PinOverride = 7,
    }
}

numbers! {
    /// Why a domain shut down.
    ShutdownReason: u32 {
        /// It ended.
        Poweroff = 0,
        /// It wants to start again.
        Reboot = 1,
        /// It wants to be saved.
        Suspend = 2,
        /// It broke.
        Crash = 3,
        /// Its watchdog ran out.
        Watchdog = 4,
        /// It wants to start again with its memory kept.
        SoftReset = 5,
    }
}

/// Argument of [`SchedOp::Shutdown`] and [`SchedOp::ShutdownCode`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Shutdown {
    /// A [`ShutdownReason`].
    pub reason: u32,
}

/// Argument of [`SchedOp::Poll`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Poll {
    /// The ports.
    pub ports: GuestPtr<Port>,
    /// Number of ports.
    pub nr_ports: u32,
    /// Ignored.
    pub pad: u32,
    /// Until when to wait, in nanoseconds of the domain's own time; 0: for ever.
    pub timeout: u64,
}

/// Most ports that one [`SchedOp::Poll`] may name.
pub const POLL_PORTS: u32 = 128;

/// Argument of [`SchedOp::RemoteShutdown`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoteShutdown {
    /// The domain.
    pub domain_id: DomId,
    /// Ignored.
    pub pad: u16,
    /// A [`ShutdownReason`].
    pub reason: u32,
}

/// Argument of [`SchedOp::Watchdog`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Watchdog {
    /// 0 to start one, else the number that the start returned.
    pub id: u32,
    /// Seconds; 0 stops it.
    pub timeout: u32,
}

/// Argument of [`SchedOp::PinOverride`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PinOverride {
    /// The CPU; negative ends it.
    pub pcpu: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Shutdown, 4, 4, { reason: 0 });
        assert_layout!(Poll, 24, 8, { ports: 0, nr_ports: 8, timeout: 16 });
        assert_layout!(RemoteShutdown, 8, 4, { domain_id: 0, reason: 4 });
        assert_layout!(Watchdog, 8, 4, { id: 0, timeout: 4 });
        assert_layout!(PinOverride, 4, 4, { pcpu: 0 });
    }
}
