//! The console's UART, found by the device tree: what all kinds have in common. A kind's driver has `new`, `is_full`, `write`,
//! `acknowledge` and `read`, and a file of its own.

mod cadence;
mod pl011;

use super::mmio::Mmio;
use xenolith_core::sync::Mutex;
use xenolith_core::types::Pa;
use xenolith_host::platform::UartKind;

/// Where a PL011 is looked for when the device tree cannot tell, so that the failure can be told: QEMU's `virt` board,
/// or what the build says in `XENOLITH_EARLY_UART` (decimal).
const EARLY: Option<&str> = option_env!("XENOLITH_EARLY_UART");
const EARLY_DEFAULT: u64 = 0x0900_0000;

/// The console's driver.
enum Driver {
    Pl011(pl011::Driver),
    Cadence(cadence::Driver),
}

static UART: Mutex<Option<Driver>> = Mutex::new(None);

impl Driver {
    fn is_full(&self) -> bool {
        match self {
            Driver::Pl011(uart) => uart.is_full(),
            Driver::Cadence(uart) => uart.is_full(),
        }
    }

    fn write(&mut self, byte: u8) {
        match self {
            Driver::Pl011(uart) => uart.write(byte),
            Driver::Cadence(uart) => uart.write(byte),
        }
    }

    /// Acknowledges the receive interrupts.
    fn acknowledge(&mut self) {
        match self {
            Driver::Pl011(uart) => uart.acknowledge(),
            Driver::Cadence(uart) => uart.acknowledge(),
        }
    }

    /// A byte that was received.
    fn read(&mut self) -> Option<u8> {
        match self {
            Driver::Pl011(uart) => uart.read(),
            Driver::Cadence(uart) => uart.read(),
        }
    }
}

/// Where the early console is.
pub fn early_address() -> Pa {
    Pa(EARLY.and_then(|address| address.parse().ok()).unwrap_or(EARLY_DEFAULT))
}

/// Writes to the early console by hand: for a CPU whose MMU is off, so that locks do not work.
pub fn early_write(bytes: &[u8]) {
    const DR: u64 = 0x0;
    const FR: u64 = 0x18;
    const FR_TXFF: u32 = 1 << 5;
    // SAFETY: a PL011 is expected there; with the MMU off every access is a device access.
    let registers = unsafe { Mmio::new(early_address(), 0x1000) };
    for &byte in bytes {
        while registers.read32(FR) & FR_TXFF != 0 {
            xenolith_hw::relax();
        }
        registers.write32(DR, byte.into());
    }
}

/// Takes a UART as the console, its line set up by firmware or by reset. Its receive interrupt is enabled.
///
/// # Safety
/// `base` is the page of the registers of a UART of that kind, reachable at EL2, and nobody else drives it.
pub unsafe fn init(kind: UartKind, base: Pa) {
    let driver = match kind {
        // SAFETY: by the caller's claim; a second call replaces the first owner.
        UartKind::Pl011 => unsafe { pl011::Driver::new(base) }.map(Driver::Pl011),
        // SAFETY: likewise.
        UartKind::Cadence => Some(Driver::Cadence(unsafe { cadence::Driver::new(base) })),
    };
    *UART.lock() = driver;
}

/// Writes bytes as they are; waits while the FIFO is full.
pub fn write_console(bytes: &[u8]) {
    if let Some(uart) = UART.lock().as_mut() {
        send(uart, bytes);
    }
}

/// Writes bytes even if another CPU died while it held the console.
pub fn write_console_unlocked(bytes: &[u8]) {
    for _ in 0..1_000_000 {
        if let Some(mut guard) = UART.try_lock() {
            if let Some(uart) = guard.as_mut() {
                send(uart, bytes);
            }
            return;
        }
        xenolith_hw::relax();
    }
    // SAFETY: the holder has had ample time and is dead or dying; at worst bytes of two CPUs mix on the wire.
    if let Some(uart) = unsafe { &mut *UART.as_mut_ptr() } {
        send(uart, bytes);
    }
}

fn send(uart: &mut Driver, bytes: &[u8]) {
    for &byte in bytes {
        while uart.is_full() {
            xenolith_hw::relax();
        }
        uart.write(byte);
    }
}

/// Acknowledges the receive interrupt, and takes what has been typed. Returns how many bytes were stored.
///
/// In this order, a byte that arrives meanwhile is either read or raises the interrupt again.
pub fn read_console(into: &mut [u8]) -> usize {
    let mut guard = UART.lock();
    let Some(uart) = guard.as_mut() else { return 0 };
    uart.acknowledge();
    let mut count = 0;
    while let Some(slot) = into.get_mut(count) {
        let Some(byte) = uart.read() else { break };
        *slot = byte;
        count += 1;
    }
    count
}
