//! The pages by which the hypervisor asks a device model (`public/hvm/ioreq.h`): one slot for each vCPU of the guest,
//! and the ring of buffered requests.
//!
//! A slot goes round: the hypervisor fills it and makes it [`State::Ready`], the device model takes it
//! ([`State::InProcess`]), answers ([`State::ResponseReady`]), and the hypervisor empties it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots in one page.
pub const SLOTS_PER_PAGE: u32 = 4096 / size_of::<Slot>() as u32;

/// One request and its answer (`struct ioreq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// Guest physical address, port number, or for a PCI configuration access the function in the upper half and the
    /// register in the lower.
    pub addr: u64,
    /// What is written, or what was read.
    pub data: u64,
    /// Repetitions: 1 on Arm.
    pub count: u32,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// The guest's port of the channel between vCPU and device model.
    pub vp_eport: u32,
    /// Nothing.
    pub pad: u16,
    /// [`State`] in the low four bits, then [`DATA_IS_POINTER`], [`READ`], [`DIRECTION_DOWN`].
    pub flags: u8,
    /// A [`RequestType`].
    pub kind: u8,
}

/// The bits of [`Slot::flags`] that hold the state.
pub const STATE_MASK: u8 = 0xf;
/// [`Slot::data`] is an address in the guest: never on Arm.
pub const DATA_IS_POINTER: u8 = 1 << 4;
/// The guest reads.
pub const READ: u8 = 1 << 5;
/// Repetitions go downwards: never on Arm.
pub const DIRECTION_DOWN: u8 = 1 << 6;

numbers! {
    /// Whose turn a slot is.
    State: u8 {
        /// Empty.
        None = 0,
        /// Filled by the hypervisor.
        Ready = 1,
        /// Taken by the device model.
        InProcess = 2,
        /// Answered.
        ResponseReady = 3,
    }
}

numbers! {
    /// What is asked for (`IOREQ_TYPE_*`).
    RequestType: u8 {
        /// An access to a port.
        Port = 0,
        /// An access to device memory.
        Copy = 1,
        /// An access to a PCI function's configuration space.
        PciConfig = 2,
        /// The guest's time offset changed: x86 only.
        TimeOffset = 7,
        /// Pages left the guest: mappings of them are to be dropped.
        Invalidate = 8,
    }
}

/// Entries of the buffered ring.
pub const BUFFERED_SLOTS: u32 = 511;

/// One entry of the buffered ring (`struct buf_ioreq`). An access of 8 bytes takes two, the second with the upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BufferedSlot {
    /// A [`RequestType`] in bits 7 to 0; bit 9: the guest reads; bits 11 and 10: log2 of the bytes; bits 31 to 12: the
    /// address.
    pub head: u32,
    /// Data, or a half of it.
    pub data: u32,
}

impl BufferedSlot {
    /// The lowest address that does not fit into an entry.
    pub const ADDRESS_END: u64 = 1 << 20;

    /// A write of 2^`size_log2` bytes (0 to 3) at `address`, which is below [`Self::ADDRESS_END`].
    pub const fn write(kind: RequestType, size_log2: u8, address: u32, data: u32) -> Self {
        BufferedSlot { head: kind as u32 | (size_log2 as u32 & 3) << 10 | address << 12, data }
    }
}

/// Where the ring's read pointer stands in its page; it belongs to the device model.
pub const BUFFERED_READ: usize = 0;
/// Where the ring's write pointer stands; it belongs to the hypervisor.
pub const BUFFERED_WRITE: usize = 4;
/// Where the ring's entries begin.
pub const BUFFERED_ENTRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Slot, 32, 8, {
            addr: 0, data: 8, count: 16, size: 20, vp_eport: 24, pad: 28, flags: 30, kind: 31,
        });
        assert_layout!(BufferedSlot, 8, 4, { head: 0, data: 4 });
        assert_eq!(BufferedSlot::write(RequestType::Copy, 3, 0xf_ffff, 0).head, 0xffff_fc01);
        assert_eq!(SLOTS_PER_PAGE, 128);
        assert_eq!(BUFFERED_ENTRIES + BUFFERED_SLOTS as usize * size_of::<BufferedSlot>(), 4096);
    }
}
