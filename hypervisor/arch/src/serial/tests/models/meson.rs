use std::cell::Cell;

use super::{DEPTH, Ends, Model, Registers};

pub struct Meson {
    ends: Ends,
    control: Cell<u32>,
    counts: Cell<u32>,
}

impl Meson {
    /// The receiver off, both interrupts enabled.
    pub fn new() -> Self {
        Meson {
            ends: Ends::default(),
            control: Cell::new(1 << 28 | 1 << 27 | 1 << 12),
            counts: Cell::new(32 << 8 | 32),
        }
    }
}

impl Model for Meson {
    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn is_on(&self) -> [bool; 2] {
        [self.control.get() & 1 << 12 != 0, self.control.get() & 1 << 13 != 0]
    }

    fn interrupts(&self) -> bool {
        let receiver = self.ends.received() >= (self.counts.get() & 0xff) as usize;
        self.control.get() & 1 << 28 != 0 || self.control.get() & 1 << 27 != 0 && receiver
    }
}

impl Registers for Meson {
    fn read(&self, register: u64) -> u32 {
        match register {
            0x04 => self.ends.pop().map_or(0, |byte| byte.0.into()),
            0x08 => self.control.get(),
            0x0c => {
                u32::from(self.ends.received() == 0) << 20 | u32::from(self.ends.to_send() == DEPTH) << 21
            }
            0x10 => self.counts.get(),
            _ => panic!("register {register:#x} is read"),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match register {
            0x00 => self.ends.push(value as u8),
            0x08 => self.control.set(value),
            0x10 => {
                assert_eq!(value >> 8, 32, "the transmitter's number is the firmware's");
                self.counts.set(value);
            }
            _ => panic!("register {register:#x} is written"),
        }
    }
}
