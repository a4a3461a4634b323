//! The server's loop without its surroundings: pages, ports and events come from Xen's files or from a test.

use std::collections::HashMap;
use std::sync::Arc;

use super::slot::{self, Found};
use crate::xen::{Evtchn, Mapping};
use crate::{Error, Mmio};

/// The event channels of the vCPUs.
pub trait Events {
    /// Adds the ports with unread events to `ports`; returns whether there may be more. Never waits.
    ///
    /// # Errors
    /// The source of events fails.
    fn pending(&mut self, ports: &mut Vec<u32>) -> Result<bool, Error>;

    /// Lets further events of these ports come.
    ///
    /// # Errors
    /// The source of events fails.
    fn unmask(&mut self, ports: &[u32]) -> Result<(), Error>;

    /// Sends an event back.
    ///
    /// # Errors
    /// The port has no other end any more.
    fn notify(&mut self, port: u32) -> Result<(), Error>;
}

impl Events for Evtchn {
    fn pending(&mut self, ports: &mut Vec<u32>) -> Result<bool, Error> {
        Evtchn::pending(self, ports)
    }

    fn unmask(&mut self, ports: &[u32]) -> Result<(), Error> {
        Evtchn::unmask(self, ports)
    }

    fn notify(&mut self, port: u32) -> Result<(), Error> {
        Evtchn::notify(self, port)
    }
}

/// How much one round served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Accesses that the device answered.
    pub accesses: u64,
    /// Times that pages left the guest.
    pub invalidations: u64,
    /// Requests that made no sense.
    pub garbage: u64,
    /// Events with nothing to do, or of no vCPU.
    pub spurious: u64,
}

/// Pages, ports and events of one server.
#[derive(Debug)]
pub struct Turns<E> {
    page: Arc<Mapping>,
    /// By port: where the vCPU's slot begins.
    slots: HashMap<u32, usize>,
    events: E,
    /// Kept for its memory.
    pending: Vec<u32>,
}

impl<E: Events> Turns<E> {
    /// Puts them together; `ports` are those of vCPU 0, 1 and so on.
    ///
    /// # Errors
    /// Two vCPUs have the same port, or more vCPUs than slots.
    pub fn new(page: Arc<Mapping>, ports: Vec<u32>, events: E) -> Result<Turns<E>, Error> {
        let mut slots = HashMap::new();
        for (vcpu, port) in (0..).zip(ports) {
            let offset = slot::offset(vcpu).filter(|&offset| offset < page.len());
            let offset = offset.ok_or_else(|| Error::unfit("more vCPUs than slots in the ioreq page"))?;
            if slots.insert(port, offset).is_some() {
                return Err(Error::unfit(format!("two vCPUs on event channel {port}")));
            }
        }
        Ok(Turns { page, slots, events, pending: Vec::new() })
    }

    /// Where the events come from.
    pub fn events(&self) -> &E {
        &self.events
    }

    /// Serves all that is there, without waiting.
    ///
    /// An event that comes during the call may be left to the next one; then the file is readable once more.
    ///
    /// # Errors
    /// The events fail.
    pub fn serve_ready(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        let mut served = Served::default();
        let mut ports = std::mem::take(&mut self.pending);
        let result = self.serve_some(device, &mut ports, &mut served);
        self.pending = ports;
        result.map(|()| served)
    }

    fn serve_some(
        &mut self,
        device: &mut dyn Mmio,
        ports: &mut Vec<u32>,
        served: &mut Served,
    ) -> Result<(), Error> {
        let mut more = true;
        while more {
            ports.clear();
            more = self.events.pending(ports)?;
            if ports.is_empty() {
                return Ok(());
            }
            // Before the slots are read: an event after this is a new one.
            self.events.unmask(ports)?;
            // One vCPU's trouble leaves the others their turn.
            let mut result = Ok(());
            for &port in ports.iter() {
                result = result.and(self.serve_port(port, device, served));
            }
            result?;
        }
        Ok(())
    }

    fn serve_port(&mut self, port: u32, device: &mut dyn Mmio, served: &mut Served) -> Result<(), Error> {
        let offset = self.slots.get(&port);
        let found = offset.map_or(Found::Nothing, |&offset| slot::serve(&self.page.slice(), offset, device));
        let counter = match found {
            Found::Access => &mut served.accesses,
            Found::Invalidate => &mut served.invalidations,
            Found::Garbage => &mut served.garbage,
            Found::Nothing => &mut served.spurious,
        };
        *counter = counter.saturating_add(1);
        if found.is_answered() { self.events.notify(port) } else { Ok(()) }
    }
}
