//! Arm's PL011 (DDI 0183).

use core::ptr::NonNull;

use arm_pl011_uart::{Interrupts, PL011Registers, Uart};
use safe_mmio::UniqueMmioPointer;

use crate::serial::{MOST_SPOILT, Serial};
use xenolith_core::types::Pa;

/// Received bytes: the FIFO is filled, or nothing came for a while.
const RECEIVE: Interrupts = Interrupts::RXI.union(Interrupts::RTI);

/// A PL011 that is the console.
pub struct Driver(Uart<'static>);

impl Driver {
    /// Takes the UART. `None`: there is none at address 0.
    ///
    /// # Safety
    /// As for [`super::init`].
    pub unsafe fn new(base: Pa) -> Option<Driver> {
        let registers = NonNull::new(base.0 as *mut PL011Registers)?;
        // SAFETY: by the caller's claim.
        let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
        uart.set_interrupt_masks(RECEIVE);
        Some(Driver(uart))
    }
}

impl Serial for Driver {
    fn is_full(&self) -> bool {
        self.0.is_tx_fifo_full()
    }

    fn write(&mut self, byte: u8) {
        self.0.write_word(byte);
    }

    fn acknowledge(&mut self) {
        self.0.clear_interrupts(RECEIVE);
    }

    fn read(&mut self) -> Option<u8> {
        // A framing or parity error costs the byte.
        (0..MOST_SPOILT).find_map(|_| self.0.read_word().ok()).flatten()
    }
}
