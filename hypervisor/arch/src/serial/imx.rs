//! The UART of NXP's i.MX 6, 7 and 8M (i.MX 8M Plus reference manual, chapter "Universal Asynchronous Receiver/Transmitter").

use super::{MOST_SPOILT, Registers, Serial};

/// Received byte, with what is known of it.
const RECEIVE: u64 = 0x00;
const TRANSMIT: u64 = 0x40;
const CONTROL_1: u64 = 0x80;
const CONTROL_2: u64 = 0x84;
const FIFO_CONTROL: u64 = 0x90;
/// Bits stay set until they are written as one, or what they say is not true any more.
const STATUS_1: u64 = 0x94;
const STATUS_2: u64 = 0x98;
const TEST: u64 = 0xb4;

/// `RECEIVE`: there was a byte.
const CHARRDY: u32 = 1 << 15;
/// `RECEIVE`: it came with a parity or framing error, or is a break, or others were lost before it.
const ERR: u32 = 1 << 14;
/// `CONTROL_1`: the UART is on.
const UARTEN: u32 = 1 << 0;
/// `CONTROL_1`: the receiver's trigger level interrupts.
const RRDYEN: u32 = 1 << 9;
/// `CONTROL_1`: no further interrupt but that, and no DMA: what must be kept is only `UARTEN`.
const CONTROL_1_ALL: u32 = UARTEN | RRDYEN;
/// `CONTROL_2`: no software reset (0 starts one); receiver and transmitter are on.
const SRST_RXEN_TXEN: u32 = 1 << 0 | 1 << 1 | 1 << 2;
/// `CONTROL_2`: a byte that grows old in the FIFO, and RTS, interrupt.
const ATEN_RTSEN: u32 = 1 << 3 | 1 << 4;
/// `FIFO_CONTROL`: the receiver's trigger level.
const RXTL: u32 = 0x3f;
/// `STATUS_1`: a byte grew old.
const AGTIM: u32 = 1 << 8;
/// `STATUS_2`: bytes were lost.
const ORE: u32 = 1 << 1;
/// `TEST`: the transmit FIFO is full.
const TXFULL: u32 = 1 << 4;

/// An i.MX UART that is the console.
pub struct Imx<R>(R);

impl<R: Registers> Imx<R> {
    /// Takes the UART.
    pub fn new(registers: R) -> Self {
        registers.write(CONTROL_1, UARTEN);
        let line = registers.read(CONTROL_2);
        registers.write(CONTROL_2, line & !ATEN_RTSEN | SRST_RXEN_TXEN);
        let fifo = registers.read(FIFO_CONTROL);
        registers.write(FIFO_CONTROL, fifo & !RXTL | 1);
        registers.write(CONTROL_1, CONTROL_1_ALL);
        Imx(registers)
    }
}

impl<R: Registers> Serial for Imx<R> {
    fn is_full(&self) -> bool {
        self.0.read(TEST) & TXFULL != 0
    }

    fn write(&mut self, byte: u8) {
        self.0.write(TRANSMIT, byte.into());
    }

    /// Reading the bytes is what ends the interrupt.
    fn acknowledge(&mut self) {
        self.0.write(STATUS_1, AGTIM);
        self.0.write(STATUS_2, ORE);
    }

    fn read(&mut self) -> Option<u8> {
        for _ in 0..MOST_SPOILT {
            let word = self.0.read(RECEIVE);
            if word & CHARRDY == 0 {
                return None;
            }
            // An error costs the byte.
            if word & ERR == 0 {
                return Some(word as u8);
            }
        }
        None
    }
}
