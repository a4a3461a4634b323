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

use xenolith_host::platform::{UartDevice, UartKind};

pub use cadence::Cadence;
pub use imx::Imx;
pub use lpuart::Lpuart;
pub use meson::Meson;
pub use ns16550::Ns16550;

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
