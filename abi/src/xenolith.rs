//! Our own calls, in a number range that Xen leaves free: device slots, and who may be a guest's device model.
//!
//! A slot is a device of a guest: the control domain makes it and names the domain that is to serve it; that domain's
//! daemon finds it, serves it, and says how it goes. So no xenstore is needed to bring the two together. A hypervisor
//! that lacks these calls answers `ENOSYS` to every one of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The hypercall's number in x16. Xen's own numbers end below 64. x0 holds a [`XenolithOp`], x1 points to its argument.
pub const HYPERCALL: u64 = 0x1000;

/// The virtual interrupt by which a domain learns that device slots changed: those that it serves, or for the control
/// domain the status of any. It is `VIRQ_ARCH_7`, which Xen does not use on Arm.
pub const VIRQ_SLOTS: u32 = 23;

numbers! {
    /// An operation.
    XenolithOp: u64 {
        /// Returns a mask of what there is: [`FEATURE_SLOTS`]. No argument.
        Features = 0,
        /// Makes a slot. Argument: [`Slot`]; its number comes back in it. For the control domain.
        CreateSlot = 1,
        /// Takes a slot away, and with the last one of a backend for a guest the permission that came with it. Argument:
        /// [`SlotNumber`]. For the control domain.
        DestroySlot = 2,
        /// Reads the first slot whose number is not below the one asked for, among those that the caller made or serves.
        /// Argument: [`Slot`]. `ENOENT`: there is none.
        NextSlot = 3,
        /// Says how the serving of a slot goes. Argument: [`SlotReport`]. For the domain that serves it.
        ReportSlot = 4,
        /// Lets a domain be the device model of a guest. Argument: [`DeviceModel`]. For the control domain.
        AllowDeviceModel = 5,
        /// Takes that back: its ioreq servers there end, and its mappings of the guest's memory go. Argument:
        /// [`DeviceModel`]. For the control domain.
        ForbidDeviceModel = 6,
    }
}

/// [`XenolithOp::Features`]: device slots, and permissions to be a device model.
pub const FEATURE_SLOTS: u64 = 1 << 0;

numbers! {
    /// What kind of device a slot is for.
    DeviceKind: u32 {
        /// A virtio block device behind a virtio-mmio transport.
        VirtioMmioBlock = 1,
    }
}

numbers! {
    /// How the serving of a slot goes.
    SlotState: u32 {
        /// Nobody has taken it up.
        Waiting = 0,
        /// It is served.
        Ready = 1,
        /// It cannot be served; the message says why.
        Failed = 2,
        /// It was served and is so no more; the message says why.
        Gone = 3,
    }
}

/// Bytes of configuration, which the hypervisor does not look at.
pub const CONFIG_SIZE: usize = 1024;
/// Bytes of a report's message.
pub const MESSAGE_SIZE: usize = 256;

/// A slot.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// The slot's number, which is never used again.
    pub number: u32,
    /// The guest that has the device.
    pub guest: u16,
    /// The domain that serves it.
    pub backend: u16,
    /// A [`DeviceKind`].
    pub kind: u32,
    /// Its interrupt (INTID).
    pub irq: u32,
    /// Guest physical address of its registers.
    pub base: u64,
    /// Bytes of its registers.
    pub size: u64,
    /// The guest's RAM: (first guest physical address, bytes) of up to two banks; unused ones are empty.
    pub ram: [[u64; 2]; 2],
    /// A [`SlotState`]. Ignored by [`XenolithOp::CreateSlot`].
    pub state: u32,
    /// Bytes of `config` that count.
    pub config_len: u32,
    /// Bytes of `message` that count. Ignored by [`XenolithOp::CreateSlot`].
    pub message_len: u32,
    /// Zero.
    pub pad: u32,
    /// What control domain and backend agree on: JSON, for a disk.
    pub config: [u8; CONFIG_SIZE],
    /// The last report's message, UTF-8. Ignored by [`XenolithOp::CreateSlot`].
    pub message: [u8; MESSAGE_SIZE],
}

/// Argument of [`XenolithOp::DestroySlot`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotNumber {
    /// The slot.
    pub number: u32,
    /// Zero.
    pub pad: u32,
}

/// Argument of [`XenolithOp::ReportSlot`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotReport {
    /// The slot.
    pub number: u32,
    /// A [`SlotState`].
    pub state: u32,
    /// Bytes of `message` that count.
    pub message_len: u32,
    /// Zero.
    pub pad: u32,
    /// What to tell people, UTF-8.
    pub message: [u8; MESSAGE_SIZE],
}

/// Argument of [`XenolithOp::AllowDeviceModel`] and [`XenolithOp::ForbidDeviceModel`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceModel {
    /// The guest.
    pub guest: u16,
    /// The domain that serves it.
    pub backend: u16,
    /// Zero.
    pub pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Slot, 1360, 8, {
            number: 0, guest: 4, backend: 6, kind: 8, irq: 12, base: 16, size: 24, ram: 32, state: 64,
            config_len: 68, message_len: 72, pad: 76, config: 80, message: 1104,
        });
        assert_layout!(SlotNumber, 8, 4, { number: 0, pad: 4 });
        assert_layout!(SlotReport, 272, 4, { number: 0, state: 4, message_len: 8, pad: 12, message: 16 });
        assert_layout!(DeviceModel, 8, 4, { guest: 0, backend: 2, pad: 4 });
    }
}
