//! A guest in plain memory, for tests of devices: with neither Xen nor a device file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::interrupt::Interrupt;
use crate::core::memory::GuestMemory;
use crate::core::ram::{Bank, Ram, RamError, zeroed};

/// A guest.
#[derive(Debug)]
pub struct Guest {
    memory: Arc<Ram>,
    interrupts: Mutex<Vec<u32>>,
}

/// One of its interrupts, by a number.
struct Line {
    guest: Arc<Guest>,
    number: u32,
}

impl Guest {
    /// A guest with memory full of zeros at these addresses; the banks are in order and apart.
    ///
    /// # Errors
    /// [`RamError`]
    pub fn new(banks: &[Bank]) -> Result<Guest, RamError> {
        Ok(Guest { memory: Arc::new(zeroed(banks)?), interrupts: Mutex::default() })
    }

    /// An interrupt that is noted under a number.
    pub fn line(self: &Arc<Self>, number: u32) -> Arc<dyn Interrupt> {
        Arc::new(Line { guest: Arc::clone(self), number })
    }

    /// The interrupts since the last call, in order.
    pub fn take_interrupts(&self) -> Vec<u32> {
        std::mem::take(&mut *self.interrupts())
    }

    fn interrupts(&self) -> MutexGuard<'_, Vec<u32>> {
        self.interrupts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestMemory for Guest {
    fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.memory)
    }
}

impl Interrupt for Line {
    fn trigger(&self) {
        self.guest.interrupts().push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn memory_is_kept_and_interrupts_are_recorded() {
        let guest = Arc::new(Guest::new(&[Bank { base: 0x1000, size: 0x1000 }]).unwrap());
        guest.memory().write_obj(5u32, GuestAddress(0x1ffc)).unwrap();
        assert_eq!(guest.memory().read_obj::<u32>(GuestAddress(0x1ffc)).unwrap(), 5);
        guest.line(33).trigger();
        guest.line(34).trigger();
        assert_eq!(guest.take_interrupts(), [33, 34]);
        assert!(guest.take_interrupts().is_empty());
    }
}
