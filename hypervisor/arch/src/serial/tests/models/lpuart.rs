use std::cell::Cell;

use super::{DEPTH, Ends, Model, Registers};

const TE_RE: u32 = 1 << 19 | 1 << 18;

pub struct Lpuart {
    ends: Ends,
    control: Cell<u32>,
    fifo: Cell<u32>,
    watermark: Cell<u32>,
    /// The flags for a break and an edge are set.
    sticky: Cell<u32>,
}

impl Lpuart {
    /// The receiver off, all interrupts enabled, flags set, FIFOs off.
    pub fn new() -> Self {
        Lpuart {
            ends: Ends::default(),
            control: Cell::new(0x0ff0_0000 & !TE_RE | 1 << 19),
            fifo: Cell::new(0x0022),
            watermark: Cell::new(8 << 16 | 4),
            sticky: Cell::new(0xc000_0000),
        }
    }

    fn depth(&self) -> usize {
        if self.fifo.get() & 0x80 != 0 { DEPTH } else { 1 }
    }

    fn status(&self) -> u32 {
        let empty = self.ends.to_send() <= (self.watermark.get() & 0xff) as usize;
        let ready = self.ends.received() > (self.watermark.get() >> 16 & 0xff) as usize;
        let lost = u32::from(self.ends.lost.get()) << 19;
        self.sticky.get() | lost | u32::from(empty) << 23 | u32::from(ready) << 21
    }

    fn require_off(&self) {
        assert_eq!(self.control.get() & TE_RE, 0, "changed while the UART is on");
    }
}

impl Model for Lpuart {
    fn ends(&self) -> &Ends {
        &self.ends
    }

    /// A byte that was lost stops the receiver.
    fn is_on(&self) -> [bool; 2] {
        let control = self.control.get();
        [control & 1 << 19 != 0, control & 1 << 18 != 0 && !self.ends.lost.get()]
    }

    fn interrupts(&self) -> bool {
        let (status, control) = (self.status(), self.control.get());
        let receiver_and_transmitter = status & control & (1 << 23 | 1 << 21);
        let lost = status >> 19 & control >> 27 & 1;
        receiver_and_transmitter | lost != 0
    }
}

impl Registers for Lpuart {
    fn read(&self, register: u64) -> u32 {
        match register {
            0x04 => self.status(),
            0x08 => self.control.get(),
            0x0c => match self.ends.pop() {
                Some((byte, spoilt)) => u32::from(spoilt) << 13 | u32::from(byte),
                None => 1 << 12,
            },
            0x18 => self.fifo.get(),
            _ => panic!("register {register:#x} is read"),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match register {
            0x04 => {
                self.sticky.set(self.sticky.get() & !value);
                self.ends.lost.set(self.ends.lost.get() && value & 1 << 19 == 0);
            }
            0x08 => self.control.set(value),
            0x0c => {
                assert!(self.ends.to_send() < self.depth(), "written to a full transmitter");
                self.ends.push(value as u8);
            }
            0x18 => {
                self.require_off();
                self.fifo.set(value);
            }
            0x1c => {
                self.require_off();
                self.watermark.set(value);
            }
            _ => panic!("register {register:#x} is written"),
        }
    }
}
