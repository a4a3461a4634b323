//! The emulated UART of a domain, joined with its interrupt controller and the machine's console.
//!
//! Its lock is held while the interrupt line changes, so that the line follows the registers in their order.

use crate::console::{Typed, console};
use crate::hypervisor::Hypervisor;
use crate::types::{DomId, Ipa};
use crate::vuart::{Fault, Vuart};

use super::Domain;

impl Domain {
    /// Changes the UART, then sets its interrupt line.
    fn change_uart<T>(&self, hv: &Hypervisor, change: impl FnOnce(&mut Vuart) -> T) -> Option<T> {
        let mut uart = self.vuart.as_ref()?.lock();
        let before = uart.line();
        let result = change(&mut uart);
        let (intid, line) = (uart.intid(), uart.line());
        if line != before {
            self.change_vgic(hv, |vgic| vgic.set_level(None, intid, line));
        }
        Some(result)
    }

    /// A guest's load from the UART. `None`: it has none at this address.
    pub fn read_uart(&self, hv: &Hypervisor, ipa: Ipa, size: u8) -> Option<Result<u64, Fault>> {
        self.change_uart(hv, |uart| uart.read(ipa, size))?
    }

    /// A guest's store to the UART. `None`: it has none at this address.
    pub fn write_uart(&self, hv: &Hypervisor, ipa: Ipa, size: u8, value: u64) -> Option<Result<(), Fault>> {
        let at_once = console().focus() == self.id;
        self.change_uart(hv, |uart| {
            let sent = uart.write(ipa, size, value)?;
            Some(sent.map(|byte| {
                if let Some(piece) = byte.and_then(|byte| uart.output.push(byte, at_once)) {
                    console().write_for(self.id, &piece);
                }
            }))
        })?
    }

    /// Writes what the domain has sent of a line that has not ended.
    pub fn show_unfinished_line(&self) {
        if let Some(uart) = &self.vuart
            && let Some(piece) = uart.lock().output.take()
        {
            console().write_for(self.id, &piece);
        }
    }
}

impl Hypervisor {
    /// A domain can have what is typed on the console from now on.
    pub fn offer_console(&self, domain: &Domain) {
        if domain.vuart.is_none() {
            return;
        }
        let (key, added) = console().change_focus(|focus| (focus.key(), focus.add(domain.id)));
        match key.map(key_name) {
            Some(key) if added => {
                log::info!("{}: press Ctrl-{key} three times to type on its console", domain.id);
            }
            _ => log::info!("{}: nothing can be typed on its console", domain.id),
        }
    }

    /// A domain can have the console's input no more.
    pub fn withdraw_console(&self, domain: &Domain) {
        if domain.vuart.is_some() {
            domain.show_unfinished_line();
            console().change_focus(|focus| focus.remove(domain.id));
        }
    }

    /// What follows from a key that is not for the control domain alone.
    pub fn take_typed(&self, typed: Typed) {
        match typed {
            Typed::Byte(id, byte) => {
                if let Some(domain) = self.domain(id) {
                    domain.change_uart(self, |uart| uart.receive(&[byte]));
                }
            }
            Typed::Switched(id) => {
                let key = console().change_focus(|focus| focus.key()).map_or('?', key_name);
                let who = if id == DomId::CONTROL { " (the first domain)" } else { "" };
                log::info!("what you type goes to {id}{who}; press Ctrl-{key} three times to switch");
                if let Some(domain) = self.domain(id) {
                    domain.show_unfinished_line();
                }
            }
        }
    }
}

/// The letter of a control character.
fn key_name(key: u8) -> char {
    char::from(key.wrapping_add(b'a').wrapping_sub(1))
}
