//! Devices of the machine that a domain is given, and device models.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Gfn, GuestPtr, Intid, Port};

/// Frames that one `memory_mapping` may have; more is `E2BIG`.
pub const MEMORY_MAPPING_PAGES: u64 = 64;
/// [`BindPtIrq::irq_type`] of a shared interrupt.
pub const PT_IRQ_SPI: u32 = 4;
/// [`AssignDevice::dev`] of a device that a device-tree path names.
pub const DEVICE_DT: u32 = 1;
/// [`VuartOp::cmd`] that makes the UART.
pub const VUART_INIT: u32 = 0;
/// [`VuartOp::kind`] of an emulated PL011.
pub const VUART_VPL011: u32 = 0;

/// Payload of `irq_permission`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqPermission {
    /// The interrupt's INTID.
    pub pirq: Intid,
    /// Nonzero gives the permission, zero takes it.
    pub allow_access: u8,
    /// Ignored.
    pub pad: [u8; 3],
}

/// Payload of `iomem_permission`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IomemPermission {
    /// The first machine frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// Nonzero gives the permission, zero takes it.
    pub allow_access: u8,
    /// Ignored.
    pub pad: [u8; 7],
}

/// Payload of `memory_mapping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryMapping {
    /// The first guest frame.
    pub first_gfn: Gfn,
    /// The first machine frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// Nonzero maps, zero unmaps.
    pub add_mapping: u32,
    /// Ignored.
    pub pad: u32,
}

/// Payload of `bind_pt_irq` and `unbind_pt_irq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindPtIrq {
    /// The machine's INTID.
    pub machine_irq: Intid,
    /// [`PT_IRQ_SPI`].
    pub irq_type: u32,
    /// The guest's INTID.
    pub spi: u16,
    /// Ignored.
    pub pad: [u16; 3],
    /// For interrupts of other kinds.
    pub rest: u64,
}

/// Payload of `assign_device`, `test_assign_device` and `deassign_device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AssignDevice {
    /// [`DEVICE_DT`].
    pub dev: u32,
    /// Options.
    pub flags: u32,
    /// Bytes of the path.
    pub size: u32,
    /// Ignored.
    pub pad: u32,
    /// The path.
    pub path: GuestPtr<u8>,
}

/// Payload of `set_target`: the header's domain becomes a device model of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetTarget {
    /// The guest.
    pub target: DomId,
}

/// Payload of `set_virq_handler`: the header's domain is sent this global virtual interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetVirqHandler {
    /// A [`Virq`](crate::event::Virq).
    pub virq: u32,
}

/// Payload of `vuart_op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VuartOp {
    /// [`VUART_INIT`].
    pub cmd: u32,
    /// [`VUART_VPL011`].
    pub kind: u32,
    /// The guest frame of the ring.
    pub gfn: Gfn,
    /// The domain that has the other end.
    pub console_domid: DomId,
    /// Zero.
    pub pad: u16,
    /// Out: the event channel.
    pub evtchn: Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(IrqPermission, 8, 4, { pirq: 0, allow_access: 4 });
        assert_layout!(IomemPermission, 24, 8, { first_mfn: 0, nr_mfns: 8, allow_access: 16 });
        assert_layout!(MemoryMapping, 32, 8, { first_gfn: 0, first_mfn: 8, nr_mfns: 16, add_mapping: 24, pad: 28 });
        assert_layout!(BindPtIrq, 24, 8, { machine_irq: 0, irq_type: 4, spi: 8 });
        assert_layout!(AssignDevice, 24, 8, { dev: 0, flags: 4, size: 8, path: 16 });
        assert_layout!(SetTarget, 2, 2, { target: 0 });
        assert_layout!(SetVirqHandler, 4, 4, { virq: 0 });
        assert_layout!(VuartOp, 24, 8, { cmd: 0, kind: 4, gfn: 8, console_domid: 16, pad: 18, evtchn: 20 });
    }
}
