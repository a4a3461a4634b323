//! What a domain is and does, as tools read it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Gfn};

/// Bits of [`DomainInfo::flags`] (`XEN_DOMINF_*`).
pub mod info_flag {
    /// It is dead: what it had is given back, up to what others still use.
    pub const DYING: u32 = 1 << 0;
    /// Hardware virtualisation: every domain on Arm.
    pub const HVM_GUEST: u32 = 1 << 1;
    /// It has shut down; the reason stands in the bits from [`SHUTDOWN_REASON_SHIFT`](super::SHUTDOWN_REASON_SHIFT) on.
    pub const SHUTDOWN: u32 = 1 << 2;
    /// The control domain has paused it.
    pub const PAUSED: u32 = 1 << 3;
    /// Every vCPU that is on sleeps.
    pub const BLOCKED: u32 = 1 << 4;
    /// A vCPU runs.
    pub const RUNNING: u32 = 1 << 5;
    /// A debugger has stopped it.
    pub const DEBUGGED: u32 = 1 << 6;
    /// It runs the store.
    pub const XS_DOMAIN: u32 = 1 << 7;
    /// Stage 2 in hardware: every domain on Arm.
    pub const HAP: u32 = 1 << 8;
}

/// Where the reason for the shutdown begins in [`DomainInfo::flags`]; it is eight bits wide.
pub const SHUTDOWN_REASON_SHIFT: u32 = 16;
/// The reason of a domain that has not shut down.
pub const SHUTDOWN_REASON_NONE: u32 = 0xff;

/// What is special to Arm. Informational.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArchDomainInfo {
    /// A [`GicVersion`](super::GicVersion).
    pub gic_version: u8,
    /// Vector length of SVE in units of 128 bits.
    pub sve_vl: u8,
    /// The trusted environment.
    pub tee_type: u16,
    /// Shared interrupts.
    pub nr_spis: u32,
    /// The counter's frequency, if the guest must be told.
    pub clock_frequency: u32,
}

/// Payload of `getdomaininfo`, and an element of the list of `getdomaininfolist`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainInfo {
    /// The domain.
    pub domain: DomId,
    /// Unused.
    pub pad1: u16,
    /// Bits of [`info_flag`], and the reason for the shutdown.
    pub flags: u32,
    /// Pages of RAM that it owns.
    pub tot_pages: u64,
    /// Pages that it may own.
    pub max_pages: u64,
    /// Pages that were claimed for it and that it does not own yet.
    pub outstanding_pages: u64,
    /// Pages shared by copy on write.
    pub shr_pages: u64,
    /// Pages that are paged out.
    pub paged_pages: u64,
    /// The guest frame of the shared info page; all ones while it is mapped nowhere.
    pub shared_info_frame: Gfn,
    /// Nanoseconds that its vCPUs have run.
    pub cpu_time: u64,
    /// vCPUs that are on.
    pub nr_online_vcpus: u32,
    /// The highest number of a vCPU.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// The UUID.
    pub handle: [u8; 16],
    /// The pool of CPUs.
    pub cpupool: u32,
    /// Width of guest physical addresses in bits.
    pub gpaddr_bits: u8,
    /// Unused.
    pub pad2: [u8; 7],
    /// What is special to Arm.
    pub arch: ArchDomainInfo,
    /// Unused.
    pub pad3: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(ArchDomainInfo, 12, 4, { gic_version: 0, sve_vl: 1, tee_type: 2, nr_spis: 4, clock_frequency: 8 });
        assert_layout!(DomainInfo, 120, 8, {
            domain: 0, flags: 4, tot_pages: 8, max_pages: 16, outstanding_pages: 24, shr_pages: 32, paged_pages: 40,
            shared_info_frame: 48, cpu_time: 56, nr_online_vcpus: 64, max_vcpu_id: 68, ssidref: 72, handle: 76,
            cpupool: 92, gpaddr_bits: 96, arch: 104,
        });
    }
}
