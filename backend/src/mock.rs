//! A guest without Xen: memory of this process, recorded interrupts, and the hypervisor's side of the ioreq page.

mod hypervisor;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Bank, Error, Memory, zeroed};

pub use hypervisor::{Hypervisor, MockEvents};

/// A guest for tests of devices.
#[derive(Debug)]
pub struct Guest {
    memory: Arc<Memory>,
    interrupts: Mutex<Vec<(u32, bool)>>,
}

impl Guest {
    /// A guest with memory full of zeros at these addresses; the banks are in order and apart.
    ///
    /// # Errors
    /// There is no room, or the banks overlap.
    pub fn new(banks: &[Bank]) -> Result<Guest, Error> {
        let memory = zeroed(banks)?;
        Ok(Guest { memory: Arc::new(memory), interrupts: Mutex::default() })
    }

    /// The interrupts since the last call, in order: line and level.
    pub fn take_interrupts(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut *self.interrupts())
    }

    fn interrupts(&self) -> MutexGuard<'_, Vec<(u32, bool)>> {
        self.interrupts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::Guest for Guest {
    fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    fn set_irq(&self, irq: u32, level: bool) -> Result<(), Error> {
        self.interrupts().push((irq, level));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guest as _;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn memory_is_kept_and_interrupts_are_recorded() {
        let guest = Guest::new(&[Bank { base: 0x1000, size: 0x1000 }]).unwrap();
        guest.memory().write_obj(5u32, GuestAddress(0x1ffc)).unwrap();
        assert_eq!(guest.memory().read_obj::<u32>(GuestAddress(0x1ffc)).unwrap(), 5);
        guest.set_irq(33, true).unwrap();
        guest.set_irq(33, false).unwrap();
        assert_eq!(guest.take_interrupts(), [(33, true), (33, false)]);
        assert_eq!(guest.take_interrupts(), []);
    }
}
