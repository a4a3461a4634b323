//! UARTs that can be the console, one file a kind, each driven through [`Registers`]: the same driver runs on the hardware and
//! on a model of it in tests.
//!
//! A driver takes its UART as firmware or reset left it: the line's speed and format stay, and what else it needs it sets
//! itself, so that a transmitter that is off is switched on. Each byte that is received interrupts.

mod cadence;
mod imx;
mod lpuart;
mod meson;
mod ns16550;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_host::platform::{UartDevice, UartKind};

pub use cadence::Cadence;
pub use imx::Imx;
pub use lpuart::Lpuart;
pub use meson::Meson;
pub use ns16550::Ns16550;

/// Spoilt bytes that are passed over in a row: more than a FIFO holds. A UART whose clock somebody has stopped may read as all
/// ones, which is a spoilt byte for ever.
pub const MOST_SPOILT: usize = 256;

/// How often a transmitter is asked for room until it is taken for stuck. A read of a device takes some 20 ns at least, so
/// these are 20 ms, the time of 19 bytes at 9600 baud.
const PATIENCE: u32 = 1_000_000;

/// The registers of one UART, by their offsets in bytes, or by their numbers where the tree says how far they are apart
/// (`reg-shift`). Reading one may change it, as a FIFO's does.
pub trait Registers {
    /// Reads a register.
    fn read(&self, register: u64) -> u32;
    /// Writes a register.
    fn write(&self, register: u64, value: u32);
}

/// A UART that is the console.
pub trait Serial {
    /// Whether the transmitter takes no byte now.
    fn is_full(&self) -> bool;
    /// Gives a byte to the transmitter, which is not full.
    fn write(&mut self, byte: u8);
    /// Acknowledges the receive interrupts. A byte that comes later interrupts again.
    fn acknowledge(&mut self);
    /// The oldest byte that was received and not read yet.
    fn read(&mut self) -> Option<u8>;
}

/// Sends a text as far as the transmitter takes it. One that has been full for long is stuck: its clock is off, or who is at
/// the other end holds it. Then the text is lost, and nobody waits for it again until it takes a byte.
pub fn send(uart: &mut dyn Serial, bytes: &[u8], is_stuck: &AtomicBool) {
    for &byte in bytes {
        let tries = if is_stuck.load(Ordering::Relaxed) { 1 } else { PATIENCE };
        let has_room = (0..tries).any(|_| {
            let has_room = !uart.is_full();
            if !has_room {
                xenolith_hw::relax();
            }
            has_room
        });
        is_stuck.store(!has_room, Ordering::Relaxed);
        if !has_room {
            return;
        }
        uart.write(byte);
    }
}

/// Gives the transmitter as many bytes as it takes now; returns how many.
pub fn offer(uart: &mut dyn Serial, bytes: &[u8]) -> usize {
    let taken = bytes.iter().take_while(|&&byte| {
        let has_room = !uart.is_full();
        if has_room {
            uart.write(byte);
        }
        has_room
    });
    taken.count()
}

/// A UART of a kind whose driver is in this folder.
pub enum Driver<R> {
    /// 16550 and its relatives.
    Ns16550(Ns16550<R>),
    /// Cadence's.
    Cadence(Cadence<R>),
    /// That of i.MX 6 to 8M.
    Imx(Imx<R>),
    /// That of i.MX 8ULP, 8X and 9.
    Lpuart(Lpuart<R>),
    /// Amlogic's.
    Meson(Meson<R>),
}

impl<R: Registers> Driver<R> {
    /// Takes the UART with these registers. `None`: the driver for its kind is not here.
    pub fn new(device: &UartDevice, registers: R) -> Option<Self> {
        Some(match device.kind {
            UartKind::Pl011 => return None,
            UartKind::Ns16550 => Driver::Ns16550(Ns16550::new(registers, false)),
            UartKind::DesignWare => Driver::Ns16550(Ns16550::new(registers, true)),
            UartKind::Cadence => Driver::Cadence(Cadence::new(registers)),
            UartKind::Imx => Driver::Imx(Imx::new(registers)),
            UartKind::Lpuart => Driver::Lpuart(Lpuart::new(registers)),
            UartKind::Meson => Driver::Meson(Meson::new(registers)),
        })
    }

    /// The driver, whatever its kind.
    pub fn serial_mut(&mut self) -> &mut dyn Serial {
        match self {
            Driver::Ns16550(uart) => uart,
            Driver::Cadence(uart) => uart,
            Driver::Imx(uart) => uart,
            Driver::Lpuart(uart) => uart,
            Driver::Meson(uart) => uart,
        }
    }
}
