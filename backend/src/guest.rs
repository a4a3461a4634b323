//! The two sides of a device: what it sees of its guest, and what the guest sees of it.

use std::sync::Arc;

use crate::{Error, Memory};

/// A guest, as its devices see it. One value serves all threads of a device.
pub trait Guest: Send + Sync {
    /// The guest's memory as it is mapped now.
    ///
    /// Take it for one piece of work, such as the requests that a queue holds now, and give it back after that: pages that
    /// the guest gives up stay with the holder of an old value. The call waits while the memory is mapped anew.
    fn memory(&self) -> Arc<Memory>;

    /// Looks again after an access to [`Guest::memory`] failed: a page that the guest had given up may have come back.
    ///
    /// Returns whether memory was added, so that another try with a fresh [`Guest::memory`] makes sense.
    fn look_again(&self) -> bool {
        false
    }

    /// Gives the memory's pages back, because some left the guest; the next [`Guest::memory`] maps them anew. For
    /// [`Mmio::invalidate`].
    fn refresh(&self) {}

    /// Sets the level of a line of the guest's interrupt controller, by its interrupt number (INTID).
    ///
    /// Where the guest was told that the line is edge-triggered, each call with `true` is one interrupt and none with
    /// `false` is needed.
    ///
    /// # Errors
    /// The hypervisor refuses: no such line, no permission, or the guest is gone.
    fn set_irq(&self, irq: u32, level: bool) -> Result<(), Error>;
}

/// A device's registers, as the guest reaches them.
///
/// Addresses are guest physical. Sizes are 1, 2, 4 or 8 bytes, and an access lies within the device's range; it need
/// not be aligned. Values have no bits above their size.
pub trait Mmio {
    /// The guest reads. Bits of the value above the size are dropped.
    fn read(&mut self, address: u64, size: u8) -> u64;

    /// The guest writes.
    fn write(&mut self, address: u64, size: u8, value: u64);

    /// Pages left the guest: what the device holds of its memory must be given back before this returns. The guest's
    /// vCPU waits for that.
    fn invalidate(&mut self);
}
