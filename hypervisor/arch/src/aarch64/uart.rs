//! The console's UART: a PL011 (Arm DDI 0183), found by the device tree.

use core::ptr::NonNull;

use arm_pl011_uart::{Interrupts, PL011Registers, Uart};
use safe_mmio::UniqueMmioPointer;

use super::mmio::Mmio;
use xenolith_core::sync::Mutex;
use xenolith_core::types::Pa;

/// Where a PL011 is looked for when the device tree cannot tell, so that the failure can be told: QEMU's `virt` board,
/// or what the build says in `XENOLITH_EARLY_UART` (decimal).
const EARLY: Option<&str> = option_env!("XENOLITH_EARLY_UART");
const EARLY_DEFAULT: u64 = 0x0900_0000;

static UART: Mutex<Option<Uart<'static>>> = Mutex::new(None);

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

/// Takes a PL011 as the console, set up by firmware or by reset. Its receive interrupt is enabled.
///
/// # Safety
/// `base` is a PL011's register frame, reachable at EL2, and nobody else drives it.
pub unsafe fn init(base: Pa) {
    let Some(registers) = NonNull::new(base.0 as *mut PL011Registers) else { return };
    // SAFETY: by the caller's claim; a second call replaces the first owner.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
    *UART.lock() = Some(uart);
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

fn send(uart: &mut Uart, bytes: &[u8]) {
    for &byte in bytes {
        while uart.is_tx_fifo_full() {
            xenolith_hw::relax();
        }
        uart.write_word(byte);
    }
}

/// Acknowledges the receive interrupt, and takes what has been typed. Returns how many bytes were stored.
///
/// In this order, a byte that arrives meanwhile is either read or raises the interrupt again.
pub fn read_console(into: &mut [u8]) -> usize {
    let mut guard = UART.lock();
    let Some(uart) = guard.as_mut() else { return 0 };
    uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
    let mut count = 0;
    while count < into.len() {
        match uart.read_word() {
            Ok(Some(byte)) => {
                into[count] = byte;
                count += 1;
            }
            // A framing or parity error costs the byte.
            Err(_) => (),
            Ok(None) => break,
        }
    }
    count
}
