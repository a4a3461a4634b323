//! What a new domain is to be.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::DomId;

/// The domain number that asks for any free one.
pub const ROVER: DomId = DomId(0xffff);
/// The bits of `grant_opts` that hold the highest grant-table version.
pub const GRANT_VERSION_MASK: u32 = 0xf;

/// Bits of `flags` (`XEN_DOMCTL_CDF_*`).
pub mod create_flag {
    /// Hardware virtualisation: every domain on Arm.
    pub const HVM: u32 = 1 << 0;
    /// Stage 2 in hardware: every domain on Arm.
    pub const HAP: u32 = 1 << 1;
    /// Keep secrets over suspend (other machines).
    pub const S3_INTEGRITY: u32 = 1 << 2;
    /// Shadow paging (other machines).
    pub const OOS_OFF: u32 = 1 << 3;
    /// It runs the store.
    pub const XS_DOMAIN: u32 = 1 << 4;
    /// It may have devices that reach memory by themselves.
    pub const IOMMU: u32 = 1 << 5;
    /// It may run virtual machines (other machines).
    pub const NESTED_VIRT: u32 = 1 << 6;
    /// It has performance counters.
    pub const VPMU: u32 = 1 << 7;
    /// An access to where nothing is takes a data abort; without it reads all ones or goes nowhere (Xen 4.21).
    pub const TRAP_UNMAPPED: u32 = 1 << 8;
}

/// In place of a [`GicVersion`]: as the machine's. The hypervisor answers which.
pub const GIC_NATIVE: u8 = 0;

numbers! {
    /// A domain's interrupt controller, as [`ArchDomainConfig`] says it.
    GicVersion: u8 {
        /// GICv2.
        V2 = 1,
        /// GICv3.
        V3 = 2,
    }
}

/// What is special to Arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArchDomainConfig {
    /// A [`GicVersion`], or [`GIC_NATIVE`]. Out: which version it is.
    pub gic_version: u8,
    /// Vector length of SVE in units of 128 bits. With version 0x15 this is padding.
    pub sve_vl: u8,
    /// The trusted environment; 0 is none.
    pub tee_type: u16,
    /// Shared interrupts.
    pub nr_spis: u32,
    /// Out: the counter's frequency, if the guest must be told; 0 if its register says so.
    pub clock_frequency: u32,
}

/// Payload of `createdomain` with interface version 0x17.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateDomain {
    /// Security label; ignored.
    pub ssidref: u32,
    /// The UUID.
    pub handle: [u8; 16],
    /// Bits of [`create_flag`].
    pub flags: u32,
    /// Options of the IOMMU.
    pub iommu_opts: u32,
    /// vCPUs.
    pub max_vcpus: u32,
    /// The highest event channel.
    pub max_evtchn_port: u32,
    /// Frames of grant table; negative: as the hypervisor sees fit.
    pub max_grant_frames: i32,
    /// Frames of handles for grants of others; negative: as the hypervisor sees fit.
    pub max_maptrack_frames: i32,
    /// The highest version of grant table.
    pub grant_opts: u32,
    /// Options of other machines; zero.
    pub altp2m_opts: u32,
    /// Bytes of trace for each vCPU (other machines).
    pub vmtrace_size: u32,
    /// The pool of CPUs.
    pub cpupool_id: u32,
    /// What is special to Arm.
    pub arch: ArchDomainConfig,
}

/// Payload of `createdomain` with interface version 0x15: it has no `altp2m_opts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateDomainV15 {
    /// Security label; ignored.
    pub ssidref: u32,
    /// The UUID.
    pub handle: [u8; 16],
    /// Bits of [`create_flag`].
    pub flags: u32,
    /// Options of the IOMMU.
    pub iommu_opts: u32,
    /// vCPUs.
    pub max_vcpus: u32,
    /// The highest event channel.
    pub max_evtchn_port: u32,
    /// Frames of grant table; negative: as the hypervisor sees fit.
    pub max_grant_frames: i32,
    /// Frames of handles for grants of others; negative: as the hypervisor sees fit.
    pub max_maptrack_frames: i32,
    /// The highest version of grant table.
    pub grant_opts: u32,
    /// Bytes of trace for each vCPU (other machines).
    pub vmtrace_size: u32,
    /// The pool of CPUs.
    pub cpupool_id: u32,
    /// What is special to Arm.
    pub arch: ArchDomainConfig,
}

impl From<CreateDomainV15> for CreateDomain {
    /// The same in the newer form; what was padding is zero.
    fn from(old: CreateDomainV15) -> Self {
        CreateDomain {
            ssidref: old.ssidref,
            handle: old.handle,
            flags: old.flags,
            iommu_opts: old.iommu_opts,
            max_vcpus: old.max_vcpus,
            max_evtchn_port: old.max_evtchn_port,
            max_grant_frames: old.max_grant_frames,
            max_maptrack_frames: old.max_maptrack_frames,
            grant_opts: old.grant_opts,
            altp2m_opts: 0,
            vmtrace_size: old.vmtrace_size,
            cpupool_id: old.cpupool_id,
            arch: ArchDomainConfig { sve_vl: 0, ..old.arch },
        }
    }
}

impl From<CreateDomain> for CreateDomainV15 {
    /// The same in the older form, without what that cannot say.
    fn from(new: CreateDomain) -> Self {
        CreateDomainV15 {
            ssidref: new.ssidref,
            handle: new.handle,
            flags: new.flags,
            iommu_opts: new.iommu_opts,
            max_vcpus: new.max_vcpus,
            max_evtchn_port: new.max_evtchn_port,
            max_grant_frames: new.max_grant_frames,
            max_maptrack_frames: new.max_maptrack_frames,
            grant_opts: new.grant_opts,
            vmtrace_size: new.vmtrace_size,
            cpupool_id: new.cpupool_id,
            arch: new.arch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(ArchDomainConfig, 12, 4, {
            gic_version: 0, sve_vl: 1, tee_type: 2, nr_spis: 4, clock_frequency: 8,
        });
        assert_layout!(CreateDomainV15, 68, 4, {
            ssidref: 0, handle: 4, flags: 20, iommu_opts: 24, max_vcpus: 28, max_evtchn_port: 32,
            max_grant_frames: 36, max_maptrack_frames: 40, grant_opts: 44, vmtrace_size: 48, cpupool_id: 52, arch: 56,
        });
        assert_layout!(CreateDomain, 72, 4, {
            ssidref: 0, handle: 4, flags: 20, iommu_opts: 24, max_vcpus: 28, max_evtchn_port: 32,
            max_grant_frames: 36, max_maptrack_frames: 40, grant_opts: 44, altp2m_opts: 48, vmtrace_size: 52,
            cpupool_id: 56, arch: 60,
        });
    }

    #[test]
    fn the_older_form_says_the_same_but_for_its_padding() {
        let arch =
            ArchDomainConfig { gic_version: 2, sve_vl: 0xee, tee_type: 0, nr_spis: 12, clock_frequency: 5 };
        let old = CreateDomainV15 {
            flags: 3,
            max_vcpus: 2,
            max_grant_frames: -1,
            cpupool_id: 7,
            arch,
            ..Default::default()
        };
        let new = CreateDomain::from(old);
        assert_eq!(new.arch.sve_vl, 0);
        let clean = CreateDomainV15 { arch: ArchDomainConfig { sve_vl: 0, ..arch }, ..old };
        assert_eq!(CreateDomainV15::from(new), clean);
    }
}
