use std::cell::Cell;

use super::{DEPTH, Ends, Model, Registers};

pub struct Imx {
    ends: Ends,
    control_1: Cell<u32>,
    control_2: Cell<u32>,
    fifo_control: Cell<u32>,
    is_old: Cell<bool>,
}

impl Imx {
    /// Disabled, the transmitter off, all interrupts enabled.
    pub fn new() -> Self {
        Imx {
            ends: Ends::default(),
            control_1: Cell::new(0x7ffe),
            control_2: Cell::new(0x4039),
            fifo_control: Cell::new(0x0a20),
            is_old: Cell::new(true),
        }
    }

    fn has_enough(&self) -> bool {
        self.ends.received() > 0 && self.ends.received() >= (self.fifo_control.get() & 0x3f) as usize
    }
}

impl Model for Imx {
    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn is_on(&self) -> [bool; 2] {
        let on = self.control_1.get() & 1 != 0 && self.control_2.get() & 1 != 0;
        [on && self.control_2.get() & 4 != 0, on && self.control_2.get() & 2 != 0]
    }

    fn interrupts(&self) -> bool {
        let transmitter = self.control_1.get() & (1 << 13 | 1 << 6) != 0;
        let receiver = self.control_1.get() & 1 << 9 != 0 && self.has_enough();
        let old = self.control_2.get() & 1 << 3 != 0 && self.is_old.get();
        transmitter || receiver || old
    }
}

impl Registers for Imx {
    fn read(&self, register: u64) -> u32 {
        match register {
            0x00 => self.ends.pop().map_or(0, |(byte, spoilt)| {
                1 << 15 | u32::from(spoilt) << 14 | u32::from(spoilt) << 12 | u32::from(byte)
            }),
            0x80 => self.control_1.get(),
            0x84 => self.control_2.get(),
            0x90 => self.fifo_control.get(),
            0xb4 => u32::from(self.ends.to_send() == DEPTH) << 4,
            _ => panic!("register {register:#x} is read"),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match register {
            0x40 => self.ends.push(value as u8),
            0x80 => self.control_1.set(value),
            0x84 => self.control_2.set(value),
            0x90 => {
                assert_eq!(
                    value & !0x3f,
                    0x0a00,
                    "the transmitter's level and the divider are the firmware's"
                );
                self.fifo_control.set(value);
            }
            0x94 => self.is_old.set(self.is_old.get() && value & 1 << 8 == 0),
            0x98 => self.ends.lost.set(self.ends.lost.get() && value & 2 == 0),
            _ => panic!("register {register:#x} is written"),
        }
    }
}
