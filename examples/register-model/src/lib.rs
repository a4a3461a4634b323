//! A device of one register: it counts up when the guest writes to it, by what is written, and interrupts at each round
//! number. Nothing of virtio is in it: this is all that a device model on the Xen side needs.

#![forbid(unsafe_code)]

use std::sync::Arc;

use backend::{Interrupt, Mmio, StalePages};

/// Bytes of the register.
pub const SIZE: u64 = 8;
/// The counter interrupts when it passes a multiple of this.
pub const ROUND: u64 = 100;

/// The device.
pub struct Counter {
    base: u64,
    interrupt: Arc<dyn Interrupt>,
    value: u64,
}

impl Counter {
    /// A counter at zero, whose register is at guest physical address `base`.
    pub fn new(base: u64, interrupt: Arc<dyn Interrupt>) -> Counter {
        Counter { base, interrupt, value: 0 }
    }

    /// Whether an access is to the whole register. A guest may make any other within the device's range.
    fn is_register(&self, address: u64, size: u8) -> bool {
        address == self.base && u64::from(size) == SIZE
    }
}

impl Mmio for Counter {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        if self.is_register(address, size) { self.value } else { 0 }
    }

    fn write(&mut self, address: u64, size: u8, value: u64) {
        if !self.is_register(address, size) {
            return;
        }
        // The guest chooses the value: it wraps as its own arithmetic would.
        let before = self.value;
        self.value = before.wrapping_add(value);
        if self.value / ROUND != before / ROUND {
            self.interrupt.trigger();
        }
    }

    // It holds nothing of the guest's memory.
    fn invalidate(&mut self, _: &StalePages) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use backend::mock;

    const BASE: u64 = 0x0200_0000;

    #[test]
    fn a_guest_counts_and_is_interrupted_at_each_round_number() {
        let guest = Arc::new(mock::Guest::new(&[backend::Bank { base: 0x4000_0000, size: 0x1000 }]).unwrap());
        let mut counter = Counter::new(BASE, guest.line(40));
        let (hypervisor, mut requests) = mock::Hypervisor::new(2).unwrap();
        for (vcpu, step, value, interrupts) in
            [(0, 99, 99, 0), (1, 1, 100, 1), (0, 250, 350, 1), (1, 0, 350, 0), (0, u64::MAX, 349, 0)]
        {
            assert_eq!(hypervisor.write(&mut requests, &mut counter, vcpu, BASE, 8, step), Some(()));
            assert_eq!(hypervisor.read(&mut requests, &mut counter, vcpu, BASE, 8), Some(value));
            assert_eq!(guest.take_interrupts().len(), interrupts, "after {step}");
        }
    }

    #[test]
    fn other_accesses_are_answered_and_change_nothing() {
        let guest = Arc::new(mock::Guest::new(&[backend::Bank { base: 0x4000_0000, size: 0x1000 }]).unwrap());
        let mut counter = Counter::new(BASE, guest.line(40));
        let (hypervisor, mut requests) = mock::Hypervisor::new(1).unwrap();
        for (offset, size) in [(0, 4), (4, 4), (1, 1), (0, 2)] {
            assert_eq!(hypervisor.write(&mut requests, &mut counter, 0, BASE + offset, size, 1), Some(()));
            assert_eq!(hypervisor.read(&mut requests, &mut counter, 0, BASE + offset, size), Some(0));
        }
        assert_eq!(hypervisor.invalidate(&mut requests, &mut counter, 0), Some(()));
        assert_eq!(hypervisor.read(&mut requests, &mut counter, 0, BASE, 8), Some(0));
    }
}
