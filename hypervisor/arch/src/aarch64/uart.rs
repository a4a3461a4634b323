//! The console's UART, found by the device tree. The drivers are in [`crate::serial`], but for that of the PL011.

mod pl011;

use core::sync::atomic::AtomicBool;

use super::mmio::Mmio;
use crate::serial::{self, Registers, Serial};
use xenolith_core::sync::Mutex;
use xenolith_host::platform::UartDevice;

/// The console's driver.
enum Driver {
    Pl011(pl011::Driver),
    Other(serial::Driver<Frame>),
}

static UART: Mutex<Option<Driver>> = Mutex::new(None);

/// The registers of a UART, as the device tree describes them.
struct Frame {
    mmio: Mmio,
    shift: u8,
    is_bytes: bool,
}

impl Registers for Frame {
    fn read(&self, register: u64) -> u32 {
        let offset = register << self.shift;
        if self.is_bytes { self.mmio.read8(offset).into() } else { self.mmio.read32(offset) }
    }

    fn write(&self, register: u64, value: u32) {
        let offset = register << self.shift;
        if self.is_bytes {
            self.mmio.write8(offset, value as u8);
        } else {
            self.mmio.write32(offset, value);
        }
    }
}

impl Driver {
    /// Takes the UART.
    ///
    /// # Safety
    /// As for [`init`].
    unsafe fn new(device: &UartDevice) -> Option<Driver> {
        // SAFETY: by the caller's claim.
        let mmio = unsafe { Mmio::new(device.base, device.size()) };
        let frame = Frame { mmio, shift: device.shift, is_bytes: device.width == 1 };
        match serial::Driver::new(device, frame) {
            Some(driver) => Some(Driver::Other(driver)),
            // SAFETY: by the caller's claim.
            None => unsafe { pl011::Driver::new(device.base) }.map(Driver::Pl011),
        }
    }

    fn serial_mut(&mut self) -> &mut dyn Serial {
        match self {
            Driver::Pl011(uart) => uart,
            Driver::Other(uart) => uart.serial_mut(),
        }
    }
}

/// Writes to a UART that is not the console yet, for a CPU whose MMU is off, so that locks do not work.
///
/// # Safety
/// `device` is a UART of its kind, and nobody else drives it. With the MMU off every access is a device access.
pub unsafe fn early_write(device: &UartDevice, texts: &[&[u8]]) {
    // SAFETY: by the caller's claim.
    if let Some(mut driver) = unsafe { Driver::new(device) } {
        texts.iter().for_each(|text| send(&mut driver, text));
    }
}

/// Takes a UART as the console, its line set up by firmware or by reset. Its receive interrupt is enabled.
///
/// # Safety
/// `device` is a UART of its kind, mapped at EL2, and nobody else drives it. A second call replaces the first owner.
pub unsafe fn init(device: &UartDevice) {
    // SAFETY: by the caller's claim.
    *UART.lock() = unsafe { Driver::new(device) };
}

/// Writes bytes as they are; waits while the FIFO is full.
pub fn write_console(bytes: &[u8]) {
    if let Some(uart) = UART.lock().as_mut() {
        send(uart, bytes);
    }
}

/// Writes bytes as far as the FIFO has room for them, and returns how many. Without a UART all are gone.
pub fn offer_console(bytes: &[u8]) -> usize {
    match UART.lock().as_mut() {
        Some(uart) => serial::offer(uart.serial_mut(), bytes),
        None => bytes.len(),
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
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    serial::send(uart.serial_mut(), bytes, &IS_STUCK);
}

/// Acknowledges the receive interrupt, and takes what has been typed. Returns how many bytes were stored.
///
/// In this order, a byte that arrives meanwhile is either read or raises the interrupt again.
pub fn read_console(into: &mut [u8]) -> usize {
    let mut guard = UART.lock();
    let Some(uart) = guard.as_mut().map(Driver::serial_mut) else { return 0 };
    uart.acknowledge();
    let mut count = 0;
    while let Some(slot) = into.get_mut(count) {
        let Some(byte) = uart.read() else { break };
        *slot = byte;
        count += 1;
    }
    count
}
