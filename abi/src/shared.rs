//! The shared info page of a domain and what each vCPU shares (`public/xen.h`, `public/arch-arm.h`, `public/vcpu.h`).
//!
//! The hypervisor reaches these through atomic words at an offset, never through a reference; the structures stand
//! here for their layouts and for what is written as a whole.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Time information of a vCPU. Linux on arm64 does not use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Odd while the rest is being written.
    pub version: u32,
    /// Unused.
    pub pad0: u32,
    /// Counter at the last update.
    pub tsc_timestamp: u64,
    /// Nanoseconds since boot at the last update.
    pub system_time: u64,
    /// Scale from counter to nanoseconds.
    pub tsc_to_system_mul: u32,
    /// Shift before the scale.
    pub tsc_shift: i8,
    /// Flags.
    pub flags: u8,
    /// Unused.
    pub pad1: [u8; 2],
}

/// What a vCPU and the hypervisor share about pending events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// Nonzero: look for events. The hypervisor sets it and then raises the event interrupt.
    pub evtchn_upcall_pending: u8,
    /// Unused on Arm.
    pub pad: [u8; 7],
    /// 2-level form: which words of `evtchn_pending` to look at.
    pub evtchn_pending_sel: u64,
    /// Time information.
    pub time: VcpuTimeInfo,
}

/// vCPUs whose information stands in the shared info page itself.
pub const LEGACY_VCPUS: u16 = 1;

/// The head of a domain's shared info page; the rest of the page is zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SharedInfo {
    /// Of vCPU 0, until it registers another place.
    pub vcpu_info: [VcpuInfo; LEGACY_VCPUS as usize],
    /// 2-level form: one bit for each port, set when the event happened.
    pub evtchn_pending: [u64; 64],
    /// 2-level form: one bit for each port, set while the guest does not want the event.
    pub evtchn_mask: [u64; 64],
    /// Odd while the wall clock is being written.
    pub wc_version: u32,
    /// Wall-clock seconds at the hypervisor's boot, low half.
    pub wc_sec: u32,
    /// Nanoseconds of it.
    pub wc_nsec: u32,
    /// Its high half.
    pub wc_sec_hi: u32,
}

numbers! {
    /// What a vCPU does, as its run-state area says.
    RunState: u32 {
        /// Runs on a CPU.
        Running = 0,
        /// Could run and waits for a CPU.
        Runnable = 1,
        /// Waits for an event.
        Blocked = 2,
        /// Does not exist for the scheduler: down or paused.
        Offline = 3,
    }
}

/// How long a vCPU was in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RunStateInfo {
    /// A [`RunState`].
    pub state: u32,
    /// Unused.
    pub pad: u32,
    /// Since when, in nanoseconds of the domain's own time; [`RUNSTATE_UPDATE`] is set while the rest is being written.
    pub state_entry_time: u64,
    /// Nanoseconds in each state before the present one.
    pub time: [u64; 4],
}

/// Bit of `state_entry_time` that says "being written", for domains that asked for it.
pub const RUNSTATE_UPDATE: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(VcpuTimeInfo, 32, 8, {
            version: 0, tsc_timestamp: 8, system_time: 16, tsc_to_system_mul: 24, tsc_shift: 28, flags: 29,
        });
        assert_layout!(VcpuInfo, 48, 8, { evtchn_upcall_pending: 0, evtchn_pending_sel: 8, time: 16 });
        assert_layout!(SharedInfo, 1088, 8, {
            vcpu_info: 0,
            evtchn_pending: 48,
            evtchn_mask: 560,
            wc_version: 1072,
            wc_sec: 1076,
            wc_nsec: 1080,
            wc_sec_hi: 1084,
        });
        assert_layout!(RunStateInfo, 48, 8, { state: 0, state_entry_time: 8, time: 16 });
    }
}
