//! The UART that a domain sees: the part of a PL011 that SBSA describes (Arm DEN0029, appendix "Generic UART"; PL011
//! manual DDI 0183, chapter 3). It is what Linux's `arm,sbsa-uart` driver and its early console use.
//!
//! Pure policy. The UART's line leads to the machine's console, or to another domain (`Wire`). What is typed waits, and the
//! first 32 bytes of it are the FIFO; what is sent is gone at once, unless another domain is slow to take it. The interrupt
//! line is a level, which the caller carries to the interrupt controller.

mod output;
mod ring;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;

pub use output::Output;
pub use ring::Ring;

use xenolith_core::types::Intid;
use xenolith_memory::page::SharedFrame;
use xenolith_policy::event::{ConsumerTag, Port};

/// The mark of the port by which another domain notifies a UART.
pub const TAG: ConsumerTag = ConsumerTag(1);

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
/// FR: the transmit FIFO is full.
const FLAG_TX_FULL: u32 = 1 << 5;
/// FR: the receive FIFO is full.
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

/// Where what is sent goes, and what is typed comes from.
#[derive(Debug)]
enum Wire<F> {
    /// The machine's console.
    Console {
        /// What was typed and not read.
        typed: VecDeque<u8>,
        /// It takes nothing: too much of what it has sent waits.
        held: bool,
    },
    /// A program in another domain.
    Ring {
        /// The page.
        ring: Ring<F>,
        /// The port by which both notify each other.
        port: Port,
        /// Whether there is somebody at the other end. Nobody is waited for otherwise.
        listens: bool,
    },
    /// Nowhere: the domain ends.
    Cut,
}

/// The UART of one domain. `F` keeps a page of another domain's end allocated.
#[derive(Debug)]
pub struct Vuart<F> {
    intid: Intid,
    mask: u32,
    raw: u32,
    wire: Wire<F>,
    /// What was sent to the machine's console and is not there yet.
    output: Output,
}

impl<F: SharedFrame> Vuart<F> {
    /// A UART with a shared interrupt, on the machine's console.
    pub fn on_console(intid: Intid) -> Self {
        Vuart::new(intid, Wire::Console { typed: VecDeque::new(), held: false })
    }

    /// One whose other end is in another domain, which connects to the port.
    pub fn on_ring(intid: Intid, frame: F, port: Port) -> Self {
        Vuart::new(intid, Wire::Ring { ring: Ring::new(frame), port, listens: false })
    }

    fn new(intid: Intid, wire: Wire<F>) -> Self {
        Vuart { intid, mask: 0, raw: 0, wire, output: Output::default() }
    }

    /// What is sent and is to go to the machine's console.
    pub fn output(&mut self) -> Option<&mut Output> {
        matches!(self.wire, Wire::Console { .. }).then_some(&mut self.output)
    }

    /// The port of the other end, if there is one.
    pub fn port(&self) -> Option<Port> {
        match self.wire {
            Wire::Ring { port, .. } => Some(port),
            _ => None,
        }
    }

    /// The port to notify, if the other end is to hear of what has happened.
    pub fn take_news(&mut self) -> Option<Port> {
        match &mut self.wire {
            Wire::Ring { ring, port, .. } => ring.take_news().then_some(*port),
            _ => None,
        }
    }

    /// Takes the page from a UART whose domain ends.
    pub fn cut(&mut self) -> Option<F> {
        match core::mem::replace(&mut self.wire, Wire::Cut) {
            Wire::Ring { ring, .. } => Some(ring.into_frame()),
            _ => None,
        }
    }

    /// How many frames are held.
    pub fn held_frames(&self) -> usize {
        matches!(self.wire, Wire::Ring { .. }).into()
    }

    /// Its interrupt.
    pub fn intid(&self) -> Intid {
        self.intid
    }

    /// Whether the interrupt line is asserted.
    pub fn line(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// A guest's load at an offset of the page.
    pub fn read(&mut self, offset: u64, size: u8) -> Result<u64, Fault> {
        let (register, shift) = register_at(offset, size)?;
        let value = match register {
            register::DATA => self.take().map_or(0, u32::from),
            register::ERROR | register::CLEAR => 0,
            register::FLAGS => self.flags(),
            register::MASK => self.mask,
            register::RAW => self.raw,
            register::MASKED => self.raw & self.mask,
            _ => return Err(Fault),
        };
        Ok(u64::from(value >> shift))
    }

    /// A guest's store at an offset of the page; the byte that is for the machine's console, if it sends one.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Result<Option<u8>, Fault> {
        let (register, shift) = register_at(offset, size)?;
        let bits: u32 = match size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        };
        let value = ((value & u64::from(u32::MAX)) as u32 & bits) << shift;
        let written = bits << shift;
        match register {
            register::DATA => return Ok(self.send((value & 0xff) as u8)),
            register::MASK => self.mask = (self.mask & !written | value) & INTERRUPTS,
            register::CLEAR => self.raw &= !value,
            register::ERROR | register::FLAGS | register::RAW | register::MASKED => (),
            _ => return Err(Fault),
        }
        Ok(None)
    }

    /// Bytes have been typed on the machine's console. What finds no room is dropped.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Wire::Console { typed, .. } = &mut self.wire else { return };
        for &byte in bytes {
            if typed.len() >= QUEUE || typed.try_reserve(1).is_err() {
                break;
            }
            typed.push_back(byte);
        }
        self.announce();
    }

    /// The other domain has read or typed something, or has connected or gone.
    pub fn other_end_changed(&mut self, is_there: bool) {
        if let Wire::Ring { listens, .. } = &mut self.wire {
            *listens = is_there;
            self.announce();
            if self.room() > 0 {
                self.raw |= TX;
            }
        }
    }

    /// Says whether the machine's console takes more of what is sent. A guest that sends all the same is not hindered.
    pub fn hold(&mut self, now: bool) {
        if let Wire::Console { held, .. } = &mut self.wire {
            *held = now;
            if now {
                self.raw &= !TX;
            } else {
                self.raw |= TX;
            }
        }
    }

    /// Whether it takes nothing until it is let.
    pub fn is_held(&self) -> bool {
        matches!(self.wire, Wire::Console { held: true, .. })
    }

    /// Notes what waits to be read.
    fn announce(&mut self) {
        let waiting = self.waiting();
        if waiting > 0 {
            self.raw |= RX_TIMEOUT;
        }
        if waiting >= FIFO / 2 {
            self.raw |= RX;
        }
    }

    /// How many bytes wait to be read.
    fn waiting(&self) -> usize {
        match &self.wire {
            Wire::Console { typed, .. } => typed.len(),
            Wire::Ring { ring, .. } => ring.waiting() as usize,
            Wire::Cut => 0,
        }
    }

    /// How many bytes can be sent.
    fn room(&self) -> usize {
        match &self.wire {
            Wire::Ring { ring, listens: true, .. } => ring.room() as usize,
            Wire::Console { held: true, .. } => 0,
            _ => FIFO,
        }
    }

    /// Sends a byte; returns it if it is for the machine's console.
    fn send(&mut self, byte: u8) -> Option<u8> {
        let for_console = match &mut self.wire {
            Wire::Console { .. } => Some(byte),
            Wire::Ring { ring, .. } => {
                ring.push(byte);
                None
            }
            Wire::Cut => None,
        };
        if self.room() > 0 {
            self.raw |= TX;
        } else {
            self.raw &= !TX;
        }
        for_console
    }

    /// The oldest byte that waits.
    fn take(&mut self) -> Option<u8> {
        let byte = match &mut self.wire {
            Wire::Console { typed, .. } => typed.pop_front(),
            Wire::Ring { ring, .. } => ring.take(),
            Wire::Cut => None,
        };
        let waiting = self.waiting();
        if waiting < FIFO / 2 {
            self.raw &= !RX;
        }
        if waiting == 0 {
            self.raw &= !RX_TIMEOUT;
        }
        byte
    }

    fn flags(&self) -> u32 {
        let receiver = match self.waiting() {
            0 => FLAG_RX_EMPTY,
            FIFO.. => FLAG_RX_FULL,
            _ => 0,
        };
        let transmitter = if self.room() > 0 { FLAG_TX_EMPTY } else { FLAG_TX_FULL };
        transmitter | receiver
    }
}

/// The register that an access begins in, and the bit of it. A byte or a half of a register may be accessed, as Xen allows
/// it; nothing wider than a register.
fn register_at(offset: u64, size: u8) -> Result<(u64, u32), Fault> {
    match size {
        1 | 2 | 4 if offset.is_multiple_of(size.into()) => Ok((offset & !3, (offset & 3) as u32 * 8)),
        _ => Err(Fault),
    }
}
