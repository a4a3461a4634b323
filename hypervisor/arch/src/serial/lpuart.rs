//! NXP's LPUART as i.MX 7ULP, 8ULP, 8X, 9 and LS1028A have it: registers of 32 bits, little endian (i.MX 93 reference manual,
//! chapter "Low Power Universal Asynchronous Receiver/Transmitter"). Offsets are from BAUD; the identification registers that
//! most of them have before it are the tree's reader's to skip.

use super::{MOST_SPOILT, Registers, Serial};

const STATUS: u64 = 0x04;
const CONTROL: u64 = 0x08;
const DATA: u64 = 0x0c;
const FIFO: u64 = 0x18;
const WATERMARK: u64 = 0x1c;

/// `STATUS`: the transmit FIFO has no more bytes than the watermark says.
const TDRE: u32 = 1 << 23;
/// `STATUS`: bits that stay set until they are written as one: a break, an edge, the line idle, bytes lost, noise, framing and
/// parity errors, the addresses that matched. A byte lost stops the receiver.
const STICKY: u32 = 1 << 31 | 1 << 30 | 0x1f << 16 | 1 << 15 | 1 << 14;
/// `CONTROL`: interrupts of all kinds: overrun, noise, framing, parity; transmitter, its end, receiver, idle line; matches.
const INTERRUPTS: u32 = 0xf << 24 | 0xf << 20 | 1 << 15 | 1 << 14;
/// `CONTROL`: the receiver interrupts.
const RIE: u32 = 1 << 21;
/// `CONTROL`: transmitter and receiver are on.
const TE_RE: u32 = 1 << 19 | 1 << 18;
/// `FIFO`: transmit and receive FIFO are on.
const TXFE_RXFE: u32 = 1 << 7 | 1 << 3;
/// `DATA`: there was no byte; it came with noise, a parity or a framing error.
const RXEMPT: u32 = 1 << 12;
const SPOILT: u32 = 1 << 15 | 1 << 14 | 1 << 13;

/// An LPUART that is the console.
pub struct Lpuart<R>(R);

impl<R: Registers> Lpuart<R> {
    /// Takes the UART.
    pub fn new(registers: R) -> Self {
        let control = registers.read(CONTROL) & !(INTERRUPTS | TE_RE);
        // FIFOs and watermarks are changed with both halves off only.
        registers.write(CONTROL, control);
        registers.write(FIFO, registers.read(FIFO) & 0xff | TXFE_RXFE);
        registers.write(WATERMARK, 0);
        registers.write(STATUS, registers.read(STATUS) | STICKY);
        registers.write(CONTROL, control | TE_RE | RIE);
        Lpuart(registers)
    }
}

impl<R: Registers> Serial for Lpuart<R> {
    fn is_full(&self) -> bool {
        self.0.read(STATUS) & TDRE == 0
    }

    fn write(&mut self, byte: u8) {
        self.0.write(DATA, byte.into());
    }

    /// Reading the bytes is what ends the interrupt.
    fn acknowledge(&mut self) {
        self.0.write(STATUS, self.0.read(STATUS) | STICKY);
    }

    fn read(&mut self) -> Option<u8> {
        for _ in 0..MOST_SPOILT {
            let word = self.0.read(DATA);
            if word & RXEMPT != 0 {
                return None;
            }
            // An error costs the byte.
            if word & SPOILT == 0 {
                return Some(word as u8);
            }
        }
        None
    }
}
