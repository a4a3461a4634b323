//! The UART of Amlogic's Meson SoCs (S905X datasheet, chapter "UART").

use super::{Registers, Serial};

const TRANSMIT: u64 = 0x00;
const RECEIVE: u64 = 0x04;
const CONTROL: u64 = 0x08;
const STATUS: u64 = 0x0c;
/// How many bytes in a FIFO interrupt: the receiver's number in bits 7:0, the transmitter's above.
const INTERRUPT_CONTROL: u64 = 0x10;

/// `CONTROL`: transmitter and receiver are on.
const TX_RX_ENABLE: u32 = 1 << 12 | 1 << 13;
/// `CONTROL`: clears the errors that `STATUS` shows, as long as it is set.
const CLEAR_ERRORS: u32 = 1 << 24;
/// `CONTROL`: the receiver interrupts.
const RECEIVE_INTERRUPT: u32 = 1 << 27;
/// `CONTROL`: the transmitter interrupts.
const TRANSMIT_INTERRUPT: u32 = 1 << 28;
/// `INTERRUPT_CONTROL`: the receiver's number.
const RECEIVE_COUNT: u32 = 0xff;
/// `STATUS`: the receive FIFO is empty.
const RECEIVE_EMPTY: u32 = 1 << 20;
/// `STATUS`: the transmit FIFO is full.
const TRANSMIT_FULL: u32 = 1 << 21;

/// A Meson UART that is the console.
pub struct Meson<R>(R);

impl<R: Registers> Meson<R> {
    /// Takes the UART.
    pub fn new(registers: R) -> Self {
        let control = registers.read(CONTROL) & !(RECEIVE_INTERRUPT | TRANSMIT_INTERRUPT);
        registers.write(CONTROL, control | CLEAR_ERRORS);
        let counts = registers.read(INTERRUPT_CONTROL);
        registers.write(INTERRUPT_CONTROL, counts & !RECEIVE_COUNT | 1);
        registers.write(CONTROL, control & !CLEAR_ERRORS | TX_RX_ENABLE | RECEIVE_INTERRUPT);
        Meson(registers)
    }
}

impl<R: Registers> Serial for Meson<R> {
    fn is_full(&self) -> bool {
        self.0.read(STATUS) & TRANSMIT_FULL != 0
    }

    fn write(&mut self, byte: u8) {
        self.0.write(TRANSMIT, byte.into());
    }

    /// The interrupt is an edge, which nothing has to end.
    fn acknowledge(&mut self) {}

    fn read(&mut self) -> Option<u8> {
        (self.0.read(STATUS) & RECEIVE_EMPTY == 0).then(|| self.0.read(RECEIVE) as u8)
    }
}
