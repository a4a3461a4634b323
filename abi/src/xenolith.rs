//! Our own calls, in a number range that Xen leaves free: device slots, and who may be a guest's device model.
//!
//! A slot is a device of a guest: the control domain makes it and names the domain that is to serve it; that domain's
//! daemon finds it, serves it, and says how it goes. So no xenstore is needed to bring the two together. A hypervisor
//! that lacks these calls answers `ENOSYS` to every one of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Intid};

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
    /// How the guest reaches a slot's device. What the device is, its virtio device id says (virtio 1.2, 5).
    Transport: u32 {
        /// A window of registers at a guest physical address: virtio-mmio, version 2.
        VirtioMmio = 1,
        /// A function behind a virtual PCI host bridge.
        VirtioPci = 2,
    }
}

numbers! {
    /// How a device interrupts its guest: which of its fields [`SlotInterrupt`] uses.
    InterruptKind: u32 {
        /// One line of the guest's interrupt controller: [`SlotInterrupt::number`] is its INTID.
        Line = 1,
        /// Messages: [`SlotInterrupt::number`] is the device that sends them, as the interrupt controller knows it, and
        /// [`SlotInterrupt::events`] how many different ones it sends, counted from 0.
        Message = 2,
    }
}

/// How a slot's device interrupts its guest, as it stands in a [`Slot`]. [`Interrupt`] is the same, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotInterrupt {
    /// An [`InterruptKind`].
    pub kind: u32,
    /// The INTID of a line, or the device that sends messages.
    pub number: u32,
    /// Of messages: how many different ones. Of a line: zero.
    pub events: u32,
    /// Zero.
    pub pad: u32,
}

/// How a device interrupts its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// By one line of the guest's interrupt controller.
    Line {
        /// The line's number.
        intid: Intid,
    },
    /// By messages, one event for each cause.
    Message {
        /// Who sends them, as the interrupt controller knows it.
        device: u32,
        /// How many different ones, counted from 0.
        events: u32,
    },
}

impl SlotInterrupt {
    /// What the fields say; `None` for an unknown kind, or a field that is to be zero and is not.
    pub const fn get(self) -> Option<Interrupt> {
        match (InterruptKind::from_number(self.kind), self) {
            (Some(InterruptKind::Line), SlotInterrupt { number, events: 0, pad: 0, .. }) => {
                Some(Interrupt::Line { intid: Intid(number) })
            }
            (Some(InterruptKind::Message), SlotInterrupt { number: device, events, pad: 0, .. }) => {
                Some(Interrupt::Message { device, events })
            }
            _ => None,
        }
    }
}

impl From<Interrupt> for SlotInterrupt {
    fn from(interrupt: Interrupt) -> SlotInterrupt {
        let (kind, number, events) = match interrupt {
            Interrupt::Line { intid } => (InterruptKind::Line, intid.0, 0),
            Interrupt::Message { device, events } => (InterruptKind::Message, device, events),
        };
        SlotInterrupt { kind: kind.number(), number, events, pad: 0 }
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
    pub guest: DomId,
    /// The domain that serves it.
    pub backend: DomId,
    /// A [`Transport`].
    pub transport: u32,
    /// What the device is: virtio's number for it (virtio 1.2, 5), never 0.
    pub device_id: u32,
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
    /// How it interrupts its guest.
    pub interrupt: SlotInterrupt,
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
    pub guest: DomId,
    /// The domain that serves it.
    pub backend: DomId,
    /// Zero.
    pub pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Slot, 1376, 8, {
            number: 0, guest: 4, backend: 6, transport: 8, device_id: 12, base: 16, size: 24, ram: 32, state: 64,
            config_len: 68, message_len: 72, pad: 76, interrupt: 80, config: 96, message: 1120,
        });
        assert_layout!(SlotInterrupt, 16, 4, { kind: 0, number: 4, events: 8, pad: 12 });
        assert_layout!(SlotNumber, 8, 4, { number: 0, pad: 4 });
        assert_layout!(SlotReport, 272, 4, { number: 0, state: 4, message_len: 8, pad: 12, message: 16 });
        assert_layout!(DeviceModel, 8, 4, { guest: 0, backend: 2, pad: 4 });
    }

    #[test]
    fn an_interrupt_is_one_of_its_kinds() {
        for interrupt in [Interrupt::Line { intid: Intid(33) }, Interrupt::Message { device: 8, events: 3 }] {
            assert_eq!(SlotInterrupt::from(interrupt).get(), Some(interrupt));
            let padded = SlotInterrupt { pad: 1, ..interrupt.into() };
            assert_eq!(padded.get(), None);
        }
        let line = SlotInterrupt::from(Interrupt::Line { intid: Intid(33) });
        assert_eq!(SlotInterrupt { events: 1, ..line }.get(), None, "a line is one");
        for kind in [0, 3, u32::MAX] {
            assert_eq!(SlotInterrupt { kind, ..line }.get(), None);
        }
    }
}
