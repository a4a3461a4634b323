//! Physical memory of a domain (`public/memory.h`).
//!
//! x0 holds the sub-operation in its low six bits; the bits above count what a preempted call has done already.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Gfn, GuestPtr};

/// The bits of x0 that name the sub-operation.
pub const OP_MASK: u64 = (1 << OP_BITS) - 1;
/// How far the progress of a preempted call is shifted up in x0.
pub const OP_BITS: u32 = 6;

numbers! {
    /// A sub-operation of `memory_op`.
    MemoryOp: u32 {
        /// Adds machine memory (not for domains whose frames are translated).
        IncreaseReservation = 0,
        /// Gives frames back.
        DecreaseReservation = 1,
        /// Returns the machine's highest RAM frame.
        MaximumRamPage = 2,
        /// Returns the pages that a domain owns.
        CurrentReservation = 3,
        /// Returns the pages that a domain may own.
        MaximumReservation = 4,
        /// Puts fresh memory at given frames.
        PopulatePhysmap = 6,
        /// Puts a page of a given kind at one frame.
        AddToPhysmap = 7,
        /// The pseudo-physical memory map.
        MemoryMap = 9,
        /// The machine's memory map.
        MachineMemoryMap = 10,
        /// Exchanges frames.
        Exchange = 11,
        /// Sets a domain's memory map.
        SetMemoryMap = 13,
        /// Returns a domain's highest mapped frame.
        MaximumGpfn = 14,
        /// Unmaps a frame.
        RemoveFromPhysmap = 15,
        /// Sets the populate-on-demand target.
        SetPodTarget = 16,
        /// Reads the populate-on-demand target.
        GetPodTarget = 17,
        /// Returns pages saved by sharing.
        GetSharingFreedPages = 18,
        /// Returns pages that are shared.
        GetSharingSharedPages = 19,
        /// Paging.
        PagingOp = 20,
        /// Access rights for introspection.
        AccessOp = 21,
        /// Sharing.
        SharingOp = 22,
        /// Puts pages of a given kind at many frames.
        AddToPhysmapBatch = 23,
        /// Sets memory aside for a domain that is to be built.
        ClaimPages = 24,
        /// The virtual NUMA layout.
        GetVnumaInfo = 26,
        /// Regions that devices reserve.
        ReservedDeviceMemoryMap = 27,
        /// Maps pages of an object that belongs to a domain.
        AcquireResource = 28,
    }
}

numbers! {
    /// Where a page comes from (`XENMAPSPACE_*`).
    MapSpace: u32 {
        /// The shared info page.
        SharedInfo = 0,
        /// A frame of the grant table.
        GrantTable = 1,
        /// Another frame of the caller.
        Gmfn = 2,
        /// A range of other frames of the caller.
        GmfnRange = 3,
        /// A frame of another domain.
        GmfnForeign = 4,
        /// A device's registers.
        DevMmio = 5,
    }
}

/// Bit of a grant-table index that asks for a frame of version 2's status table.
pub const GRANT_INDEX_STATUS: u64 = 1 << 31;

numbers! {
    /// What [`MemoryOp::AcquireResource`] can map (`XENMEM_resource_*`).
    Resource: u16 {
        /// The request pages of an ioreq server.
        IoreqServer = 0,
        /// The grant table.
        GrantTable = 1,
        /// The trace buffer of a vCPU.
        VmtraceBuffer = 2,
    }
}

/// Argument of [`MemoryOp::IncreaseReservation`], [`MemoryOp::DecreaseReservation`], [`MemoryOp::PopulatePhysmap`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reservation {
    /// The extents' first frames.
    pub extent_start: GuestPtr<Gfn>,
    /// Elements of the array.
    pub nr_extents: u64,
    /// log2 of the pages in each extent.
    pub extent_order: u32,
    /// Address width, node and options.
    pub mem_flags: u32,
    /// The domain.
    pub domid: DomId,
    /// Ignored.
    pub pad: [u8; 6],
}

/// Argument of the calls that ask one thing about a domain's memory.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryDomain {
    /// The domain.
    pub domid: DomId,
}

/// Argument of [`MemoryOp::AddToPhysmap`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmap {
    /// The domain whose map changes.
    pub domid: DomId,
    /// Pages, for a range.
    pub size: u16,
    /// A [`MapSpace`].
    pub space: u32,
    /// Index in the space.
    pub idx: u64,
    /// The frame at which the page appears.
    pub gpfn: Gfn,
}

/// Argument of [`MemoryOp::AddToPhysmapBatch`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmapBatch {
    /// The domain whose map changes.
    pub domid: DomId,
    /// A [`MapSpace`].
    pub space: u16,
    /// Pages.
    pub size: u16,
    /// The domain that owns the pages, for [`MapSpace::GmfnForeign`].
    pub foreign_domid: DomId,
    /// The indexes.
    pub idxs: GuestPtr<u64>,
    /// The frames at which the pages appear.
    pub gpfns: GuestPtr<Gfn>,
    /// Where the results go.
    pub errs: GuestPtr<i32>,
}

/// Argument of [`MemoryOp::RemoveFromPhysmap`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// The domain whose map changes.
    pub domid: DomId,
    /// Ignored.
    pub pad: [u8; 6],
    /// The frame.
    pub gpfn: Gfn,
}

/// Argument of [`MemoryOp::AcquireResource`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AcquireResource {
    /// The domain that has the object.
    pub domid: DomId,
    /// A [`Resource`].
    pub kind: u16,
    /// Which object of the kind.
    pub id: u32,
    /// In: pages wanted. Out, when there is no list: pages there are.
    pub nr_frames: u32,
    /// Zero.
    pub pad: u32,
    /// The first page of the object.
    pub frame: u64,
    /// The frames at which the pages appear, or null to ask for the size.
    pub frame_list: GuestPtr<Gfn>,
}

/// Argument of [`MemoryOp::ReservedDeviceMemoryMap`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReservedDeviceMemoryMap {
    /// Whether one device's regions are asked for, or all.
    pub flags: u32,
    /// In: elements of the buffer. Out: regions.
    pub nr_entries: u32,
    /// Where the regions go: first frame and count of frames.
    pub buffer: GuestPtr<[u64; 2]>,
    /// The PCI device.
    pub device: [u8; 4],
    /// Nothing.
    pub pad: [u8; 4],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Reservation, 32, 8, {
            extent_start: 0, nr_extents: 8, extent_order: 16, mem_flags: 20, domid: 24,
        });
        assert_layout!(MemoryDomain, 2, 2, { domid: 0 });
        assert_layout!(AddToPhysmap, 24, 8, { domid: 0, size: 2, space: 4, idx: 8, gpfn: 16 });
        assert_layout!(AddToPhysmapBatch, 32, 8, {
            domid: 0, space: 2, size: 4, foreign_domid: 6, idxs: 8, gpfns: 16, errs: 24,
        });
        assert_layout!(RemoveFromPhysmap, 16, 8, { domid: 0, gpfn: 8 });
        assert_layout!(AcquireResource, 32, 8, {
            domid: 0, kind: 2, id: 4, nr_frames: 8, pad: 12, frame: 16, frame_list: 24,
        });
        assert_layout!(ReservedDeviceMemoryMap, 24, 8, { flags: 0, nr_entries: 4, buffer: 8, device: 16 });
    }

    #[test]
    fn every_operation_fits_the_bits_of_x0() {
        assert!(MemoryOp::ALL.iter().all(|op| u64::from(op.number()) <= OP_MASK));
    }
}
