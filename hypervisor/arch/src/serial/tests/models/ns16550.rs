use std::cell::Cell;

use super::{Ends, Model, Registers};

/// An interrupt of DesignWare's that no byte ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    BusyDetect,
    EmptyTimeout,
}

pub struct Ns16550 {
    ends: Ends,
    is_design_ware: bool,
    interrupt_enable: Cell<u32>,
    has_fifos: Cell<bool>,
    line_control: Cell<u32>,
    modem_control: Cell<u32>,
    trouble: Cell<Option<Trouble>>,
}

impl Ns16550 {
    /// In the middle of setting the speed, in loop-back, all interrupts enabled.
    pub fn new(is_design_ware: bool) -> Self {
        Ns16550 {
            ends: Ends::default(),
            is_design_ware,
            interrupt_enable: Cell::new(0xf),
            has_fifos: Cell::new(false),
            line_control: Cell::new(0x83),
            modem_control: Cell::new(0x10),
            trouble: Cell::new(None),
        }
    }

    pub fn has(&self, trouble: Trouble) {
        self.trouble.set(Some(trouble));
    }

    fn id(&self) -> u32 {
        match self.trouble.get() {
            Some(Trouble::BusyDetect) => 0xc7,
            Some(Trouble::EmptyTimeout) => 0xcc,
            None if self.interrupt_enable.get() & 1 != 0 && self.ends.received() > 0 => 0xc4,
            None if self.interrupt_enable.get() & 2 != 0 && self.ends.to_send() == 0 => 0xc2,
            None => 0xc1,
        }
    }
}

impl Model for Ns16550 {
    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn is_on(&self) -> [bool; 2] {
        [self.modem_control.get() & 0x10 == 0; 2]
    }

    /// OUT2 is the gate to the interrupt controller.
    fn interrupts(&self) -> bool {
        self.id() & 0xf != 1 && self.modem_control.get() & 8 != 0
    }
}

impl Registers for Ns16550 {
    fn read(&self, register: u64) -> u32 {
        match register {
            0 if self.line_control.get() & 0x80 != 0 => 1,
            0 => {
                if self.trouble.get() == Some(Trouble::EmptyTimeout) {
                    self.trouble.set(None);
                }
                self.ends.pop().map_or(0, |byte| byte.0.into())
            }
            2 => self.id(),
            3 => self.line_control.get(),
            4 => self.modem_control.get(),
            5 => {
                let ready = u32::from(self.ends.received() > 0);
                let lost = u32::from(self.ends.lost.replace(false)) << 1;
                let framing = u32::from(self.ends.oldest_is_spoilt()) << 3;
                let empty = if self.ends.to_send() == 0 { 0x60 } else { 0 };
                ready | lost | framing | empty
            }
            0x1f if self.is_design_ware => {
                if self.trouble.get() == Some(Trouble::BusyDetect) {
                    self.trouble.set(None);
                }
                0
            }
            _ => panic!("register {register} is read"),
        }
    }

    fn write(&self, register: u64, value: u32) {
        assert!(value <= 0xff, "a register has eight bits");
        let is_divisor = self.line_control.get() & 0x80 != 0;
        match register {
            0 | 1 if is_divisor => panic!("the divisor is written"),
            0 => {
                assert!(self.has_fifos.get() || self.ends.to_send() == 0, "written to a full transmitter");
                self.ends.push(value as u8);
            }
            1 => self.interrupt_enable.set(value),
            2 => {
                assert_eq!(value & 0xc0, 0, "the receiver's level is not one byte");
                self.has_fifos.set(value & 1 != 0);
            }
            3 => self.line_control.set(value),
            4 => self.modem_control.set(value),
            _ => panic!("register {register} is written"),
        }
    }
}
