use std::cell::Cell;

use super::{DEPTH, Ends, Model, Registers};

const RECEIVER_TRIGGER: u32 = 1;

pub struct Cadence {
    ends: Ends,
    control: Cell<u32>,
    mask: Cell<u32>,
    status: Cell<u32>,
    trigger: Cell<u32>,
}

impl Cadence {
    /// Both halves disabled, as after reset, and all interrupts enabled.
    pub fn new() -> Self {
        Cadence {
            ends: Ends::default(),
            control: Cell::new(0x128),
            mask: Cell::new(0x1fff),
            status: Cell::new(0x200),
            trigger: Cell::new(0x20),
        }
    }
}

impl Model for Cadence {
    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn is_on(&self) -> [bool; 2] {
        let control = self.control.get();
        [control & 0x30 == 0x10, control & 0xc == 4]
    }

    fn interrupts(&self) -> bool {
        self.mask.get() & self.status.get() != 0
    }

    fn notes(&self) {
        if self.ends.received() >= self.trigger.get() as usize {
            self.status.set(self.status.get() | RECEIVER_TRIGGER);
        }
    }
}

impl Registers for Cadence {
    fn read(&self, register: u64) -> u32 {
        match register {
            0x2c => u32::from(self.ends.received() == 0) << 1 | u32::from(self.ends.to_send() == DEPTH) << 4,
            0x30 => self.ends.pop().map_or(0, |byte| byte.0.into()),
            _ => panic!("register {register:#x} is read"),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match register {
            0x00 => self.control.set(value),
            0x08 => self.mask.set(self.mask.get() | value),
            0x0c => self.mask.set(self.mask.get() & !value),
            0x14 => self.status.set(self.status.get() & !value),
            0x20 => self.trigger.set(value),
            0x30 => self.ends.push(value as u8),
            _ => panic!("register {register:#x} is written"),
        }
    }
}
