//! The 16550 of National Semiconductor (PC16550D) and what has its registers: 8250, 16450, 16750, the mini UART of Broadcom's
//! BCM2835, and Synopsys DesignWare's (DW_apb_uart databook), which has an interrupt of its own.
//!
//! Registers are known by their numbers. How far they are apart, and how wide an access is, the device tree says.

use super::{MOST_SPOILT, Registers, Serial};

/// Received byte (read), byte to send (write).
const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
/// Why it interrupts (read).
const INTERRUPT_ID: u64 = 2;
/// The same register when it is written.
const FIFO_CONTROL: u64 = 2;
const LINE_CONTROL: u64 = 3;
const MODEM_CONTROL: u64 = 4;
const LINE_STATUS: u64 = 5;
/// DesignWare: reading it ends the busy-detect interrupt.
const UART_STATUS: u64 = 0x1f;

/// `INTERRUPT_ENABLE`: received data, or a FIFO in which some stay below the trigger level.
const RECEIVED: u32 = 1 << 0;
/// `FIFO_CONTROL`: FIFOs on, the receiver's trigger level one byte.
const FIFOS: u32 = 1 << 0;
/// `LINE_CONTROL`: registers 0 and 1 are the divisor.
const DIVISOR_LATCH: u32 = 1 << 7;
/// `MODEM_CONTROL`: DTR, RTS, and OUT2, which PCs have between the UART and the interrupt controller.
const DTR_RTS_OUT2: u32 = 1 << 0 | 1 << 1 | 1 << 3;
/// `MODEM_CONTROL`: what is sent is received, and not sent.
const LOOP: u32 = 1 << 4;
/// `LINE_STATUS`: a byte is there.
const DATA_READY: u32 = 1 << 0;
/// `LINE_STATUS`: the byte to be read next came with a parity or framing error, or is a break.
const SPOILT: u32 = 1 << 2 | 1 << 3 | 1 << 4;
/// `LINE_STATUS`: the transmitter takes a byte. With FIFOs on it means that the FIFO is empty.
const TRANSMIT_EMPTY: u32 = 1 << 5;
/// `INTERRUPT_ID`: the bits of the cause.
const CAUSE: u32 = 0xf;
/// `INTERRUPT_ID`: received bytes have been in the FIFO for a while.
const TIMEOUT: u32 = 0xc;
/// `INTERRUPT_ID`: the line's format was written while the UART was busy (DesignWare).
const BUSY_DETECT: u32 = 0x7;

/// A 16550 that is the console.
pub struct Ns16550<R> {
    registers: R,
    is_design_ware: bool,
}

impl<R: Registers> Ns16550<R> {
    /// Takes the UART. Only DesignWare's has the busy-detect interrupt, and the register which ends it.
    pub fn new(registers: R, is_design_ware: bool) -> Self {
        let line = registers.read(LINE_CONTROL);
        // Not written without need: a DesignWare that is sending refuses it, and interrupts.
        if line & DIVISOR_LATCH != 0 {
            registers.write(LINE_CONTROL, line & !DIVISOR_LATCH);
        }
        registers.write(INTERRUPT_ENABLE, 0);
        registers.write(FIFO_CONTROL, FIFOS);
        let modem = registers.read(MODEM_CONTROL);
        registers.write(MODEM_CONTROL, modem & !LOOP | DTR_RTS_OUT2);
        registers.write(INTERRUPT_ENABLE, RECEIVED);
        Ns16550 { registers, is_design_ware }
    }
}

impl<R: Registers> Serial for Ns16550<R> {
    fn is_full(&self) -> bool {
        self.registers.read(LINE_STATUS) & TRANSMIT_EMPTY == 0
    }

    fn write(&mut self, byte: u8) {
        self.registers.write(DATA, byte.into());
    }

    /// Reading the bytes is what ends the interrupt, but for two of DesignWare's.
    fn acknowledge(&mut self) {
        if !self.is_design_ware {
            return;
        }
        match self.registers.read(INTERRUPT_ID) & CAUSE {
            BUSY_DETECT => drop(self.registers.read(UART_STATUS)),
            // It may say so with no byte there, and go on until one is read.
            TIMEOUT if self.registers.read(LINE_STATUS) & DATA_READY == 0 => drop(self.registers.read(DATA)),
            _ => {}
        }
    }

    fn read(&mut self) -> Option<u8> {
        for _ in 0..MOST_SPOILT {
            let status = self.registers.read(LINE_STATUS);
            if status & DATA_READY == 0 {
                return None;
            }
            let byte = self.registers.read(DATA) as u8;
            // An error costs the byte.
            if status & SPOILT == 0 {
                return Some(byte);
            }
        }
        None
    }
}
