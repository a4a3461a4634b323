//! A device's registers at guest physical addresses, as a carrier that is told of accesses has them.

use virtio::core::device::Device;
use virtio::core::ram::StalePages;
use virtio::transport::mmio::Transport;

/// A device's registers, as the guest reaches them.
///
/// Addresses are guest physical. Sizes are 1, 2, 4 or 8 bytes, and an access lies within the device's range; it need
/// not be aligned. Values have no bits above their size.
pub trait Mmio {
    /// The guest reads. Bits of the value above the size are dropped.
    fn read(&mut self, address: u64, size: u8) -> u64;

    /// The guest writes.
    fn write(&mut self, address: u64, size: u8, value: u64);

    /// Pages left the guest: what the device holds of them must be given back before this returns. The guest's
    /// vCPU waits for that.
    fn invalidate(&mut self, stale: &StalePages);
}

/// A virtio device whose registers begin at an address.
pub struct VirtioMmio<D> {
    base: u64,
    /// The registers.
    pub transport: Transport<D>,
}

impl<D: Device> VirtioMmio<D> {
    /// Puts registers at guest physical address `base`.
    pub fn new(base: u64, transport: Transport<D>) -> VirtioMmio<D> {
        VirtioMmio { base, transport }
    }
}

impl<D: Device> Mmio for VirtioMmio<D> {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        self.transport.read(address.wrapping_sub(self.base), size)
    }

    fn write(&mut self, address: u64, size: u8, value: u64) {
        self.transport.write(address.wrapping_sub(self.base), size, value);
    }

    fn invalidate(&mut self, stale: &StalePages) {
        self.transport.invalidate(stale);
    }
}
