//! Physical devices (`public/physdev.h`): Linux reports the PCI devices that it finds.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

numbers! {
    /// A sub-operation of `physdev_op` that Linux on Arm makes.
    PhysdevOp: u32 {
        /// A PCI device was found, first form.
        ManagePciAdd = 15,
        /// A PCI device went away, first form.
        ManagePciRemove = 16,
        /// A PCI device was found.
        PciDeviceAdd = 25,
        /// A PCI device went away.
        PciDeviceRemove = 26,
        /// A PCI device was reset (since 4.20).
        PciDeviceReset = 32,
    }
}

/// Argument of [`PhysdevOp::ManagePciAdd`] and [`PhysdevOp::ManagePciRemove`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ManagePci {
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

/// Argument of [`PhysdevOp::PciDeviceRemove`] and [`PhysdevOp::PciDeviceReset`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciDevice {
    /// Segment.
    pub seg: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

/// Argument of [`PhysdevOp::PciDeviceAdd`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciDeviceAdd {
    /// Segment.
    pub seg: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// What the device is.
    pub flags: u32,
    /// Bus of the physical function, for a virtual one.
    pub physfn_bus: u8,
    /// Device and function of the physical function.
    pub physfn_devfn: u8,
    /// Ignored.
    pub pad: [u8; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(ManagePci, 2, 1, { bus: 0, devfn: 1 });
        assert_layout!(PciDevice, 4, 2, { seg: 0, bus: 2, devfn: 3 });
        assert_layout!(PciDeviceAdd, 12, 4, { seg: 0, bus: 2, devfn: 3, flags: 4, physfn_bus: 8 });
    }
}
