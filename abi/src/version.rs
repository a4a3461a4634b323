//! Version and features (`public/version.h`, `public/features.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

numbers! {
    /// A sub-operation of `xen_version`.
    VersionOp: u32 {
        /// Returns major version << 16 | minor version.
        Version = 0,
        /// Fills 16 bytes with what follows the minor version.
        ExtraVersion = 1,
        /// Fills a [`CompileInfo`].
        CompileInfo = 2,
        /// Fills 1024 bytes with the kinds of guest that can run.
        Capabilities = 3,
        /// Fills 64 bytes with the source's revision.
        ChangeSet = 4,
        /// Fills 8 bytes with the address at which the hypervisor starts.
        PlatformParameters = 5,
        /// Fills a [`FeatureInfo`].
        GetFeatures = 6,
        /// Returns the page size.
        PageSize = 7,
        /// Fills 16 bytes with the domain's UUID.
        GuestHandle = 8,
        /// Fills 1024 bytes with the hypervisor's command line.
        CommandLine = 9,
        /// Fills a [`VariableBuffer`] with the build's identity.
        BuildId = 10,
        /// As `ExtraVersion`, into a [`VariableBuffer`] (since 4.18).
        ExtraVersion2 = 11,
        /// As `Capabilities`, into a [`VariableBuffer`] (since 4.18).
        Capabilities2 = 12,
        /// As `ChangeSet`, into a [`VariableBuffer`] (since 4.18).
        ChangeSet2 = 13,
        /// As `CommandLine`, into a [`VariableBuffer`] (since 4.18).
        CommandLine2 = 14,
    }
}

/// Bytes of [`VersionOp::ExtraVersion`].
pub const EXTRA_VERSION_SIZE: usize = 16;
/// Bytes of [`VersionOp::Capabilities`].
pub const CAPABILITIES_SIZE: usize = 1024;
/// Bytes of [`VersionOp::ChangeSet`].
pub const CHANGE_SET_SIZE: usize = 64;
/// Bytes of [`VersionOp::GuestHandle`].
pub const GUEST_HANDLE_SIZE: usize = 16;
/// Bytes of [`VersionOp::CommandLine`].
pub const COMMAND_LINE_SIZE: usize = 1024;

/// Who built the hypervisor, with what, when: strings that end with a zero byte.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompileInfo {
    /// The compiler.
    pub compiler: [u8; 64],
    /// The builder.
    pub compile_by: [u8; 16],
    /// The builder's domain.
    pub compile_domain: [u8; 32],
    /// The date.
    pub compile_date: [u8; 32],
}

/// Argument of [`VersionOp::GetFeatures`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeatureInfo {
    /// In: which 32 feature bits; only 0 exists.
    pub submap_idx: u32,
    /// Out: the bits, see [`feature`].
    pub submap: u32,
}

/// Head of the argument of the calls which fill a buffer of any length; the bytes follow it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VariableBuffer {
    /// In: bytes of the buffer.
    pub len: u32,
}

/// Feature bits of submap 0 (`XENFEAT_*`).
pub mod feature {
    /// The guest writes its own page tables.
    pub const WRITABLE_PAGE_TABLES: u32 = 1 << 0;
    /// Guest frames are not machine frames.
    pub const AUTO_TRANSLATED_PHYSMAP: u32 = 1 << 2;
    /// The caller is the control domain.
    pub const DOM0: u32 = 1 << 11;
    /// Memory calls take a virtual node.
    pub const MEMORY_OP_VNODE_SUPPORTED: u32 = 1 << 13;
    /// SMCCC calls may be made.
    pub const ARM_SMCCC_SUPPORTED: u32 = 1 << 14;
    /// The caller's frames differ from machine frames.
    pub const NOT_DIRECT_MAPPED: u32 = 1 << 16;
    /// The caller's frames equal machine frames.
    pub const DIRECT_MAPPED: u32 = 1 << 17;
    /// A run-state area may be given by guest physical address.
    pub const RUNSTATE_PHYS_AREA: u32 = 1 << 18;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(CompileInfo, 144, 1, {
            compiler: 0, compile_by: 64, compile_domain: 80, compile_date: 112,
        });
        assert_layout!(FeatureInfo, 8, 4, { submap_idx: 0, submap: 4 });
        assert_layout!(VariableBuffer, 4, 4, { len: 0 });
    }

    #[test]
    fn the_control_domain_of_xen_4_17_sees_these_features() {
        let bits = feature::WRITABLE_PAGE_TABLES
            | feature::AUTO_TRANSLATED_PHYSMAP
            | feature::DOM0
            | feature::MEMORY_OP_VNODE_SUPPORTED
            | feature::ARM_SMCCC_SUPPORTED
            | feature::DIRECT_MAPPED;
        assert_eq!(bits, 0x2_6805);
    }
}
