//! The UART that a domain sees: the part of a PL011 that SBSA describes (Arm DEN0029, appendix "Generic UART"; PL011
//! manual DDI 0183, chapter 3). It is what Linux's `arm,sbsa-uart` driver and its early console use.
//!
//! Pure policy. What is sent is gone at once, so that the transmitter is always idle; what is typed waits in a queue
//! whose first 32 bytes are the FIFO. The interrupt line is a level, which the caller carries to the interrupt
//! controller.

mod output;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;

pub use output::Output;

use crate::types::Ipa;

/// Bytes of the registers' page.
pub const SIZE: u64 = 0x1000;
/// Bytes of the receive FIFO.
const FIFO: usize = 32;
/// Bytes that wait at most; more is dropped.
const QUEUE: usize = 1024;

/// Registers, by their offsets.
mod register {
    pub const DATA: u64 = 0x00;
    pub const ERROR: u64 = 0x04;
    pub const FLAGS: u64 = 0x18;
    pub const MASK: u64 = 0x38;
    pub const RAW: u64 = 0x3c;
    pub const MASKED: u64 = 0x40;
    pub const CLEAR: u64 = 0x44;
}

/// FR: the receive FIFO is empty.
const FLAG_RX_EMPTY: u32 = 1 << 4;
/// FR: it is full.
const FLAG_RX_FULL: u32 = 1 << 6;
/// FR: the transmit FIFO is empty.
const FLAG_TX_EMPTY: u32 = 1 << 7;
/// The FIFO is at least half full.
const RX: u32 = 1 << 4;
/// The transmitter has room.
const TX: u32 = 1 << 5;
/// Something has been received and waits.
const RX_TIMEOUT: u32 = 1 << 6;
/// All interrupts of a PL011.
const INTERRUPTS: u32 = 0x7ff;

/// An access that the UART does not take: the guest gets an external data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// The UART of one domain.
pub struct Vuart {
    base: Ipa,
    intid: u32,
    typed: VecDeque<u8>,
    mask: u32,
    raw: u32,
    /// What has been sent and is not yet on the console.
    pub output: Output,
}

impl Vuart {
    /// A UART at an address, with a shared interrupt.
    pub fn new(base: Ipa, intid: u32) -> Self {
        Vuart { base, intid, typed: VecDeque::new(), mask: 0, raw: 0, output: Output::default() }
    }

    /// Its interrupt.
    pub fn intid(&self) -> u32 {
        self.intid
    }

    /// Whether the interrupt line is asserted.
    pub fn line(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// A guest's load. `None`: the address is not the UART's.
    pub fn read(&mut self, ipa: Ipa, size: u8) -> Option<Result<u64, Fault>> {
        let (register, shift) = match self.find(ipa, size)? {
            Ok(found) => found,
            Err(fault) => return Some(Err(fault)),
        };
        let value = match register {
            register::DATA => self.take().map_or(0, u32::from),
            register::ERROR | register::CLEAR => 0,
            register::FLAGS => self.flags(),
            register::MASK => self.mask,
            register::RAW => self.raw,
            register::MASKED => self.raw & self.mask,
            _ => return Some(Err(Fault)),
        };
        Some(Ok(u64::from(value >> shift)))
    }

    /// A guest's store; the byte that it sends by it, if it does. `None`: the address is not the UART's.
    pub fn write(&mut self, ipa: Ipa, size: u8, value: u64) -> Option<Result<Option<u8>, Fault>> {
        let (register, shift) = match self.find(ipa, size)? {
            Ok(found) => found,
            Err(fault) => return Some(Err(fault)),
        };
        let bits: u32 = match size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        };
        let value = ((value & u64::from(u32::MAX)) as u32 & bits) << shift;
        let written = bits << shift;
        match register {
            register::DATA => {
                self.raw |= TX;
                return Some(Ok(Some((value & 0xff) as u8)));
            }
            register::MASK => self.mask = (self.mask & !written | value) & INTERRUPTS,
            register::CLEAR => self.raw &= !value,
            register::ERROR | register::FLAGS | register::RAW | register::MASKED => (),
            _ => return Some(Err(Fault)),
        }
        Some(Ok(None))
    }

    /// Bytes have been typed. What finds no room is dropped.
    pub fn receive(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.typed.len() >= QUEUE || self.typed.try_reserve(1).is_err() {
                return;
            }
            self.typed.push_back(byte);
            self.raw |= RX_TIMEOUT;
            if self.typed.len() >= FIFO / 2 {
                self.raw |= RX;
            }
        }
    }

    /// The oldest byte that waits.
    fn take(&mut self) -> Option<u8> {
        let byte = self.typed.pop_front();
        if self.typed.len() < FIFO / 2 {
            self.raw &= !RX;
        }
        if self.typed.is_empty() {
            self.raw &= !RX_TIMEOUT;
        }
        byte
    }

    fn flags(&self) -> u32 {
        let receiver = match self.typed.len() {
            0 => FLAG_RX_EMPTY,
            FIFO.. => FLAG_RX_FULL,
            _ => 0,
        };
        FLAG_TX_EMPTY | receiver
    }

    /// The register that holds an address, and the bit of it where the access begins. A byte or a half of a register
    /// may be accessed, as Xen allows it; nothing wider than a register.
    fn find(&self, ipa: Ipa, size: u8) -> Option<Result<(u64, u32), Fault>> {
        let offset = ipa.0.checked_sub(self.base.0).filter(|&offset| offset < SIZE)?;
        let is_sound = matches!(size, 1 | 2 | 4) && offset.is_multiple_of(size.into());
        let shift = (offset & 3) as u32 * 8;
        Some(if is_sound { Ok((offset & !3, shift)) } else { Err(Fault) })
    }
}
