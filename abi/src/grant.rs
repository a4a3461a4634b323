//! Grant tables, version 1 (`public/grant_table.h`): the calls, their arguments, and the entries that a domain shares
//! with the hypervisor. Version 2 has no types here, because it is never offered.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Gfn, GuestPtr};

numbers! {
    /// A sub-operation of `grant_table_op`.
    GrantOp: u32 {
        /// Maps frames that other domains grant.
        MapGrantRef = 0,
        /// Takes such mappings away.
        UnmapGrantRef = 1,
        /// Makes a domain's table larger, and says where its frames are mapped.
        SetupTable = 2,
        /// Prints a domain's table.
        DumpTable = 3,
        /// Gives frames to another domain.
        Transfer = 4,
        /// Copies between frames, granted ones or the caller's own.
        Copy = 5,
        /// Says how large a domain's table is.
        QuerySize = 6,
        /// Takes mappings away and puts others in their place.
        UnmapAndReplace = 7,
        /// Chooses the form of the caller's entries.
        SetVersion = 8,
        /// Says where version 2's status frames are mapped.
        GetStatusFrames = 9,
        /// Says which form a domain's entries have.
        GetVersion = 10,
        /// Exchanges two entries of the caller.
        SwapGrantRef = 11,
        /// Writes cached data of a granted frame back to memory, or drops it.
        CacheFlush = 12,
    }
}

numbers! {
    /// How one element of a call ended (`GNTST_*`).
    GrantStatus: i16 {
        /// It worked.
        Okay = 0,
        /// It did not, for no other reason of this list.
        GeneralError = -1,
        /// No such domain.
        BadDomain = -2,
        /// No such reference.
        BadReference = -3,
        /// No such handle.
        BadHandle = -4,
        /// A virtual address that cannot be used.
        BadVirtualAddress = -5,
        /// A device address that cannot be used.
        BadDeviceAddress = -6,
        /// No room in the IOMMU.
        NoDeviceSpace = -7,
        /// The caller lacks the permission.
        PermissionDenied = -8,
        /// The frame is not RAM of the domain that grants it.
        BadPage = -9,
        /// A copy leaves its page.
        BadCopyArgument = -10,
        /// An address is too large.
        AddressTooBig = -11,
        /// In use; try again.
        TryAgain = -12,
        /// No handle is free.
        NoSpace = -13,
    }
}

/// Entries of version 1 in a frame of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// The reference of a guest's console ring, which its builder fills in.
pub const RESERVED_CONSOLE: u32 = 0;
/// The reference of a guest's xenstore ring, which its builder fills in.
pub const RESERVED_XENSTORE: u32 = 1;

/// Bits of [`EntryV1::flags`] (`GTF_*`).
pub mod entry {
    /// What kind of entry it is.
    pub const TYPE: u16 = 0b11;
    /// The kind that lets the domain map and copy the frame.
    pub const PERMIT_ACCESS: u16 = 1;
    /// The domain may only read.
    pub const READ_ONLY: u16 = 1 << 2;
    /// Set by the hypervisor while the frame is in use.
    pub const READING: u16 = 1 << 3;
    /// Set by the hypervisor while the frame is in use for writing.
    pub const WRITING: u16 = 1 << 4;
}

/// Bits of [`MapGrantRef::flags`] (`GNTMAP_*`).
pub mod map {
    /// Maps for devices.
    pub const DEVICE: u32 = 1 << 0;
    /// Maps for CPUs.
    pub const HOST: u32 = 1 << 1;
    /// Maps for reading only.
    pub const READ_ONLY: u32 = 1 << 2;
}

/// Bits of [`GrantCopy::flags`] (`GNTCOPY_*`).
pub mod copy {
    /// The source is a grant reference, not a frame of the caller.
    pub const SOURCE_REFERENCE: u16 = 1 << 0;
    /// The destination is a grant reference, not a frame of the caller.
    pub const DEST_REFERENCE: u16 = 1 << 1;
}

/// Bits of [`CacheFlush::op`] (`GNTTAB_CACHE_*`).
pub mod cache {
    /// Write cached data back.
    pub const CLEAN: u32 = 1 << 0;
    /// Drop cached data.
    pub const INVALIDATE: u32 = 1 << 1;
}

/// An entry of the table that a domain shares with the hypervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryV1 {
    /// Bits of [`entry`].
    pub flags: u16,
    /// The domain that gets access.
    pub domid: DomId,
    /// The guest frame, of the domain that owns the table.
    pub frame: u32,
}

/// Element of [`GrantOp::MapGrantRef`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MapGrantRef {
    /// In: the guest physical address at which the frame shall appear.
    pub host_addr: u64,
    /// In: bits of [`map`].
    pub flags: u32,
    /// In: the reference.
    pub reference: u32,
    /// In: the domain that grants.
    pub dom: DomId,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Out: what to unmap by.
    pub handle: u32,
    /// Out: the machine address.
    pub dev_bus_addr: u64,
}

/// Element of [`GrantOp::UnmapGrantRef`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnmapGrantRef {
    /// In: the guest physical address; 0 leaves the mapping.
    pub host_addr: u64,
    /// In: the address for devices, ignored because there are no such mappings.
    pub dev_bus_addr: u64,
    /// In: the handle of the mapping.
    pub handle: u32,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad: u16,
}

/// Argument of [`GrantOp::SetupTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetupTable {
    /// In: the domain.
    pub dom: DomId,
    /// Ignored.
    pub pad: u16,
    /// In: how many frames the table shall have at least.
    pub nr_frames: u32,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad2: [u16; 3],
    /// In: where to write the guest frame of each frame of the table.
    pub frame_list: GuestPtr<Gfn>,
}

/// One side of a [`GrantCopy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CopySide {
    /// A guest frame of the caller, or in the low 32 bits a reference.
    pub frame_or_reference: u64,
    /// The domain that grants; `DOMID_SELF` for a frame.
    pub domid: DomId,
    /// Where in the frame.
    pub offset: u16,
    /// Ignored.
    pub pad: u32,
}

/// Element of [`GrantOp::Copy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantCopy {
    /// In: from where.
    pub source: CopySide,
    /// In: to where.
    pub dest: CopySide,
    /// In: bytes.
    pub len: u16,
    /// In: bits of [`copy`].
    pub flags: u16,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad: u16,
}

/// Argument of [`GrantOp::QuerySize`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QuerySize {
    /// In: the domain.
    pub dom: DomId,
    /// Ignored.
    pub pad: u16,
    /// Out: frames that its table has.
    pub nr_frames: u32,
    /// Out: frames that it can have.
    pub max_nr_frames: u32,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad2: u16,
}

/// Element of [`GrantOp::UnmapAndReplace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnmapAndReplace {
    /// In: where the mapping is.
    pub host_addr: u64,
    /// In: where what comes in its place is mapped.
    pub new_addr: u64,
    /// In: the handle of the mapping.
    pub handle: u32,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad: u16,
}

/// Argument of [`GrantOp::GetStatusFrames`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetStatusFrames {
    /// In: elements of the list.
    pub nr_frames: u32,
    /// In: the domain.
    pub dom: DomId,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// In: where to write the guest frames.
    pub frame_list: GuestPtr<Gfn>,
}

/// Argument of [`GrantOp::SetVersion`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetVersion {
    /// In: the version wanted. Out: the version in use.
    pub version: u32,
}

/// Argument of [`GrantOp::GetVersion`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetVersion {
    /// In: the domain.
    pub dom: DomId,
    /// Ignored.
    pub pad: u16,
    /// Out: the version in use.
    pub version: u32,
}

/// Element of [`GrantOp::SwapGrantRef`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SwapGrantRef {
    /// In: one reference.
    pub a: u32,
    /// In: the other one.
    pub b: u32,
    /// Out: a [`GrantStatus`].
    pub status: i16,
    /// Ignored.
    pub pad: u16,
}

/// Element of [`GrantOp::CacheFlush`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CacheFlush {
    /// In: the machine address of the frame.
    pub dev_bus_addr: u64,
    /// In: where in the frame.
    pub offset: u16,
    /// In: bytes.
    pub length: u16,
    /// In: bits of [`cache`].
    pub op: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(EntryV1, 8, 4, { flags: 0, domid: 2, frame: 4 });
        assert_layout!(MapGrantRef, 32, 8, {
            host_addr: 0, flags: 8, reference: 12, dom: 16, status: 18, handle: 20, dev_bus_addr: 24,
        });
        assert_layout!(UnmapGrantRef, 24, 8, { host_addr: 0, dev_bus_addr: 8, handle: 16, status: 20 });
        assert_layout!(SetupTable, 24, 8, { dom: 0, nr_frames: 4, status: 8, frame_list: 16 });
        assert_layout!(CopySide, 16, 8, { frame_or_reference: 0, domid: 8, offset: 10 });
        assert_layout!(GrantCopy, 40, 8, { source: 0, dest: 16, len: 32, flags: 34, status: 36 });
        assert_layout!(QuerySize, 16, 4, { dom: 0, nr_frames: 4, max_nr_frames: 8, status: 12 });
        assert_layout!(UnmapAndReplace, 24, 8, { host_addr: 0, new_addr: 8, handle: 16, status: 20 });
        assert_layout!(GetStatusFrames, 16, 8, { nr_frames: 0, dom: 4, status: 6, frame_list: 8 });
        assert_layout!(SetVersion, 4, 4, { version: 0 });
        assert_layout!(GetVersion, 8, 4, { dom: 0, version: 4 });
        assert_layout!(SwapGrantRef, 12, 4, { a: 0, b: 4, status: 8 });
        assert_layout!(CacheFlush, 16, 8, { dev_bus_addr: 0, offset: 8, length: 10, op: 12 });
        assert_eq!(ENTRIES_PER_FRAME as usize * size_of::<EntryV1>(), 4096);
    }

    #[test]
    fn numbers() {
        assert_eq!(GrantOp::from_number(12), Some(GrantOp::CacheFlush));
        assert_eq!(GrantOp::from_number(13), None);
        assert_eq!(GrantStatus::ALL.iter().map(|status| status.number()).min(), Some(-13));
    }
}
