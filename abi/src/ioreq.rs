//! The pages by which the hypervisor asks a device model (`public/hvm/ioreq.h`): one slot for each vCPU of the guest.
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
        /// Pages left the guest: mappings of them are to be dropped. In Xen the data are [`ALL_STALE`], and all mappings
        /// go. Xenolith says which pages have left, for those who look: they lie within `count` pages from `addr` on,
        /// and their classes ([`stale_class`]) are set in the data.
        Invalidate = 8,
    }
}

/// The data of an invalidation of everything.
pub const ALL_STALE: u64 = u64::MAX;

/// The bit of the 2 MiB in which an address lies, among those that an invalidation names: the number of these 2 MiB modulo 64.
pub const fn stale_class(address: u64) -> u64 {
    1 << ((address >> 21) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Slot, 32, 8, {
            addr: 0, data: 8, count: 16, size: 20, vp_eport: 24, pad: 28, flags: 30, kind: 31,
        });
        assert_eq!(SLOTS_PER_PAGE, 128);
    }
}
