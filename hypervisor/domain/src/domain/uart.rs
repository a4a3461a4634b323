//! The emulated UART of a domain, joined with its interrupt controller, the machine's console, and event channels.
//!
//! Its lock is held while the interrupt line changes, so that the line follows the registers in their order.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;

use crate::arch::{UART, UART_INTERRUPT};
use crate::console::{Typed, console};
use crate::hypervisor::Hypervisor;
use xenolith_arch as arch;
use xenolith_core::sync::Mutex;
use xenolith_core::types::{DomId, Gfn, Intid, Ipa, VcpuId};
use xenolith_memory::frames::FrameRef;
use xenolith_policy::event::{ConsumerTag, Port};
use xenolith_vdev::address_table::Handler;
use xenolith_vdev::vuart::{self, Fault, Output, Vuart};

use super::{Domain, DomainRef};
use crate::parts::io_state::IoState;

impl Domain {
    /// Gives a domain a UART on the machine's console. `EEXIST`: something else is emulated in its page. `ENOMEM`: no
    /// memory. A domain that has one keeps it as it is.
    pub fn make_console_uart(&self, base: Ipa, intid: Intid) -> Result<(), Errno> {
        let mut addresses = self.addresses.change();
        if self.vuart.get().is_none() {
            addresses.emulate(base, vuart::SIZE, Handler::Vuart)?;
            self.vuart.call_once(|| Mutex::new(Vuart::on_console(intid)));
        }
        Ok(())
    }

    /// Writes what the domain has sent of a line that has not ended.
    pub fn show_unfinished_line(&self) {
        if let Some(uart) = self.vuart.get()
            && let Some(piece) = uart.lock().output().and_then(Output::take)
        {
            self.say_on_console(&piece);
        }
    }

    /// Writes what the domain has sent to the machine's console, if not too much of that waits.
    fn say_on_console(&self, bytes: &[u8]) {
        if self.takes_console(bytes.len()) {
            console().write_for(self.id, bytes);
        }
    }

    /// So many bytes are going to be written to the console by the domain's doing. False: too many wait, and these are dropped. What
    /// was dropped before is told of.
    pub fn takes_console(&self, bytes: usize) -> bool {
        if !self.console_share.take(console(), bytes) {
            return false;
        }
        let dropped = self.console_share.take_dropped();
        if dropped > 0 {
            log::warn!(
                "{}: {dropped} bytes of its output are left out: the console's UART took them too slowly",
                self.id
            );
        }
        true
    }

    /// The domain can have what is typed on the console from now on.
    pub fn offer_console(&self) {
        if self.vuart.get().is_none_or(|uart| uart.lock().output().is_none()) {
            return;
        }
        let (key, added) = console().change_focus(|focus| (focus.key(), focus.add(self.id)));
        match key.map(key_name) {
            Some(key) if added => {
                log::info!("{}: press Ctrl-{key} three times to type on its console", self.id);
            }
            _ => log::info!("{}: nothing can be typed on its console", self.id),
        }
    }
}

impl DomainRef<'_> {
    /// Changes the UART, then sets its interrupt line and notifies its other end.
    fn change_uart<T>(self, change: impl FnOnce(&mut Vuart<FrameRef>) -> T) -> Option<T> {
        let mut uart = self.vuart.get()?.lock();
        let before = uart.line();
        let result = change(&mut uart);
        let (intid, line) = (uart.intid(), uart.line());
        if line != before {
            self.set_shared_level(intid, line);
        }
        let news = uart.take_news();
        drop(uart);
        if let Some(port) = news {
            self.notify_peer(port);
        }
        Some(result)
    }

    /// Gives a domain a UART whose other end is a program in domain `console`, which finds it in a page of the domain's RAM
    /// and at the port that is returned.
    ///
    /// `EINVAL`: it has one, there is no such page, it has no such interrupt, or it is dying. `EEXIST`: something else is
    /// emulated in its page. `ENOSPC`, `ENOMEM`: no port, or no memory.
    pub fn make_uart(self, gfn: Gfn, console: DomId) -> Result<Port, Errno> {
        if !self.arch.is_free_line(UART_INTERRUPT) {
            return Err(Errno::EINVAL);
        }
        let port = self.events.lock().alloc_consumer(VcpuId(0), console, vuart::TAG)?;
        match self.connect_uart(gfn, port) {
            Ok(()) => Ok(port),
            Err(errno) => {
                let closed = self.events.lock().close_consumer(port);
                if let Ok(Some(peer)) = closed {
                    self.hv.disconnect_event(peer);
                }
                Err(errno)
            }
        }
    }

    fn connect_uart(self, gfn: Gfn, port: Port) -> Result<(), Errno> {
        // Held to the end: whoever else makes a UART waits, and then finds this one.
        let mut addresses = self.addresses.change();
        if self.vuart.get().is_some() {
            return Err(Errno::EINVAL);
        }
        // Under the memory's lock: the domain's end comes by there before it looks for a UART.
        let refused = self.with_frame_ref(gfn, |frame| {
            if let Err(errno) = addresses.emulate(Ipa(UART.start), vuart::SIZE, Handler::Vuart) {
                return Some((errno, frame));
            }
            self.vuart.call_once(|| Mutex::new(Vuart::on_ring(UART_INTERRUPT, frame, port)));
            None
        });
        drop(addresses);
        match refused? {
            None => Ok(()),
            Some((errno, frame)) => {
                self.hv.put_frame(frame);
                Err(errno)
            }
        }
    }

    /// The other end of the UART has connected, sent an event, or gone. Which of these is asked of the port under the
    /// UART's lock: word of what was done to it may come in another order.
    fn uart_event(self) {
        self.change_uart(|uart| {
            let peer = uart.port().and_then(|port| self.events.lock().consumer_peer(port));
            uart.other_end_changed(peer.is_some());
        });
    }

    /// An event at a port of the hypervisor, for this vCPU.
    pub fn consumer_event(self, tag: ConsumerTag, id: VcpuId) {
        if tag == vuart::TAG { self.uart_event() } else { self.device_model_event(tag, id) }
    }

    /// Somebody has connected to a port of the hypervisor, or has gone from there.
    pub fn consumer_changed(self, tag: ConsumerTag, id: VcpuId, port: Port) {
        if tag == vuart::TAG { self.uart_event() } else { self.device_model_changed(tag, id, port) }
    }

    /// A guest's load, or its store of a value, at an offset of the UART's page.
    #[inline(never)]
    pub(super) fn access_uart(self, offset: u64, size: u8, write: Option<u64>) -> IoState {
        let done = match write {
            Some(value) => self.write_uart(offset, size, value).map(|sent| sent.map(|()| 0)),
            None => self.change_uart(|uart| uart.read(offset, size)),
        };
        // The page is found only where a UART is.
        done.map_or(IoState::Unhandled, |done| done.map_or(IoState::Refused, IoState::Done))
    }

    fn write_uart(self, offset: u64, size: u8, value: u64) -> Option<Result<(), Fault>> {
        let at_once = console().focus() == self.id;
        self.change_uart(|uart| {
            let byte = uart.write(offset, size, value)?;
            let output = byte.zip(uart.output());
            if let Some(piece) = output.and_then(|(byte, output)| output.push(byte, at_once)) {
                self.say_on_console(&piece);
                self.hv.serve_console_here();
                if self.console_share.is_full(console()) {
                    uart.hold(true);
                    console().mark_held();
                }
            }
            Ok(())
        })
    }

    /// The domain ends: it can have the console's input no more, and what its UART has of its memory goes back.
    pub fn withdraw_console(self) {
        let Some(uart) = self.vuart.get() else { return };
        self.show_unfinished_line();
        console().change_focus(|focus| focus.remove(self.id));
        let frame = uart.lock().cut();
        if let Some(frame) = frame {
            self.hv.put_frame(frame);
        }
    }
}

impl Hypervisor {
    /// Has the calling CPU choose before it leaves EL2, and with that serve the console: what a guest's output makes for work
    /// is done where that guest runs, and not by a neighbour's CPU that happens to choose next.
    pub fn serve_console_here(&self) {
        self.kicks.kick_own(arch::this_cpu());
    }

    /// Has the UARTs of domains take bytes again that were held until what they had sent is on the machine's.
    pub fn release_uarts(&self) {
        for domain in self.domains() {
            let Some(uart) = domain.vuart.get() else { continue };
            if !uart.lock().is_held() {
                continue;
            }
            if domain.console_share.is_empty(console()) {
                domain.on(self).change_uart(|uart| uart.hold(false));
            } else {
                console().mark_held();
            }
        }
    }

    /// Takes what has been typed to whom it is for.
    pub fn take_console_input(&self) {
        /// A UART's FIFO is small, so this ends; the bound is against a device that never runs dry.
        const BATCHES: usize = 16;
        for _ in 0..BATCHES {
            let received = console().receive();
            for &typed in &received.others {
                self.take_typed(typed);
            }
            if received.for_control {
                self.raise_global_virq(Virq::Console);
            }
            if !received.more {
                break;
            }
        }
    }

    /// What follows from a key that is not for the control domain alone.
    fn take_typed(&self, typed: Typed) {
        match typed {
            Typed::Byte(id, byte) => {
                if let Some(domain) = self.domain(id) {
                    domain.on(self).change_uart(|uart| uart.receive(&[byte]));
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
