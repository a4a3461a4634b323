//! Cadence's UART, which Zynq-7000, Zynq UltraScale+ and Versal have (AMD UG1085, chapter "UART Controllers"; the registers
//! are in UG1087).

use super::{Registers, Serial};

const CONTROL: u64 = 0x00;
const INTERRUPT_ENABLE: u64 = 0x08;
const INTERRUPT_DISABLE: u64 = 0x0c;
/// Bits stay set until they are written as one.
const INTERRUPT_STATUS: u64 = 0x14;
const RECEIVE_TRIGGER: u64 = 0x20;
const STATUS: u64 = 0x2c;
const FIFO: u64 = 0x30;

/// `CONTROL`: the receiver and the transmitter are enabled. The bits that disable them, set after reset, are zero.
const RXEN_TXEN: u32 = 1 << 2 | 1 << 4;
/// Interrupt: as many bytes as `RECEIVE_TRIGGER` says are in the receive FIFO.
const RTRIG: u32 = 1 << 0;
/// `STATUS`: the receive FIFO is empty.
const REMPTY: u32 = 1 << 1;
/// `STATUS`: the transmit FIFO is full.
const TFUL: u32 = 1 << 4;

/// A Cadence UART that is the console.
pub struct Cadence<R>(R);

impl<R: Registers> Cadence<R> {
    /// Takes the UART.
    pub fn new(registers: R) -> Self {
        registers.write(INTERRUPT_DISABLE, u32::MAX);
        registers.write(CONTROL, RXEN_TXEN);
        registers.write(RECEIVE_TRIGGER, 1);
        registers.write(INTERRUPT_STATUS, u32::MAX);
        registers.write(INTERRUPT_ENABLE, RTRIG);
        Cadence(registers)
    }
}

impl<R: Registers> Serial for Cadence<R> {
    fn is_full(&self) -> bool {
        self.0.read(STATUS) & TFUL != 0
    }

    fn write(&mut self, byte: u8) {
        self.0.write(FIFO, byte.into());
    }

    fn acknowledge(&mut self) {
        self.0.write(INTERRUPT_STATUS, RTRIG);
    }

    fn read(&mut self) -> Option<u8> {
        (self.0.read(STATUS) & REMPTY == 0).then(|| self.0.read(FIFO) as u8)
    }
}
