//! Models of UARTs, as their manuals describe the registers that a console needs.

mod cadence;
mod imx;
mod lpuart;
mod meson;
mod ns16550;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::{Registers, UartKind};

pub use ns16550::{Ns16550, Trouble};

/// A UART, with a line to it.
pub trait Model: Registers {
    /// The ends that all have.
    fn ends(&self) -> &Ends;
    /// Whether transmitter and receiver are on.
    fn is_on(&self) -> [bool; 2];
    /// Whether it interrupts.
    fn interrupts(&self) -> bool;
    /// A byte was received. What has to be noted of it beside the FIFO.
    fn notes(&self) {}

    /// The line takes a byte from the transmitter.
    fn line_takes_a_byte(&self) {
        let mut waiting = self.ends().transmit.borrow_mut();
        if self.is_on()[0]
            && let Some(byte) = waiting.pop_front()
        {
            self.ends().sent.borrow_mut().push(byte);
        }
    }

    /// The line brings a byte.
    fn line_brings(&self, byte: u8) {
        self.line_brings_as(byte, false);
    }

    /// The line brings a byte whose frame is wrong.
    fn line_brings_spoilt(&self, byte: u8) {
        self.line_brings_as(byte, true);
    }

    /// The line brings a byte: it is lost if the receiver is off or full.
    fn line_brings_as(&self, byte: u8, is_spoilt: bool) {
        if !self.is_on()[1] {
            return;
        }
        let mut waiting = self.ends().receive.borrow_mut();
        if waiting.len() < DEPTH {
            waiting.push_back((byte, is_spoilt));
        } else {
            self.ends().lost.set(true);
        }
        drop(waiting);
        self.notes();
    }

    /// What came out of the transmitter.
    fn sent(&self) -> Vec<u8> {
        self.ends().sent.borrow().clone()
    }
}

/// Bytes that a FIFO holds.
pub const DEPTH: usize = 16;

/// Both directions of a UART.
#[derive(Default)]
pub struct Ends {
    transmit: RefCell<VecDeque<u8>>,
    receive: RefCell<VecDeque<(u8, bool)>>,
    sent: RefCell<Vec<u8>>,
    /// A byte came when the receiver was full.
    pub lost: Cell<bool>,
}

impl Ends {
    /// The driver writes a byte. A driver that looks first never writes to a full FIFO.
    pub fn push(&self, byte: u8) {
        let mut waiting = self.transmit.borrow_mut();
        assert!(waiting.len() < DEPTH, "written to a full transmitter");
        waiting.push_back(byte);
    }

    pub fn to_send(&self) -> usize {
        self.transmit.borrow().len()
    }

    pub fn received(&self) -> usize {
        self.receive.borrow().len()
    }

    pub fn oldest_is_spoilt(&self) -> bool {
        self.receive.borrow().front().is_some_and(|byte| byte.1)
    }

    pub fn pop(&self) -> Option<(u8, bool)> {
        self.receive.borrow_mut().pop_front()
    }
}

/// The model of the UART that a driver is for.
pub fn of(kind: UartKind) -> Box<dyn Model> {
    match kind {
        UartKind::Ns16550 => Box::new(Ns16550::new(false)),
        UartKind::DesignWare => Box::new(Ns16550::new(true)),
        UartKind::Cadence => Box::new(cadence::Cadence::new()),
        UartKind::Imx => Box::new(imx::Imx::new()),
        UartKind::Lpuart => Box::new(lpuart::Lpuart::new()),
        UartKind::Meson => Box::new(meson::Meson::new()),
        UartKind::Pl011 => unreachable!("its driver is a crate's"),
    }
}
