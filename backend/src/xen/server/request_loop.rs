//! The server's loop without its surroundings: pages, ports and events come from Xen's files or from a test.
//!
//! An event that was read stays masked: what the guest asks for meanwhile is found by [`RequestLoop::poll_once`], which costs no
//! system call and no interrupt. [`RequestLoop::arm_notifications`] lets events come again, which is to be done before waiting for one.

use std::sync::Arc;
use xenolith_abi::Port;

use super::slot::{self, Found};
use crate::xen::{Evtchn, Mapping};
use crate::{Error, Mmio};

/// The event channels of the vCPUs.
pub trait Events {
    /// Adds the ports with unread events to `ports`; returns whether there may be more. Never waits.
    ///
    /// # Errors
    /// The source of events fails.
    fn pending(&mut self, ports: &mut Vec<Port>) -> Result<bool, Error>;

    /// Lets further events of these ports come.
    ///
    /// # Errors
    /// The source of events fails.
    fn unmask(&mut self, ports: &[Port]) -> Result<(), Error>;

    /// Sends an event back.
    ///
    /// # Errors
    /// The port has no other end any more.
    fn notify(&mut self, port: Port) -> Result<(), Error>;
}

impl Events for Evtchn {
    fn pending(&mut self, ports: &mut Vec<Port>) -> Result<bool, Error> {
        Evtchn::pending(self, ports)
    }

    fn unmask(&mut self, ports: &[Port]) -> Result<(), Error> {
        Evtchn::unmask(self, ports)
    }

    fn notify(&mut self, port: Port) -> Result<(), Error> {
        Evtchn::notify(self, port)
    }
}

/// What one round served, counted.
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

impl Served {
    /// Whether the guest asked for anything.
    pub fn is_some(&self) -> bool {
        self.accesses != 0 || self.invalidations != 0 || self.garbage != 0
    }

    fn count(&mut self, found: Found) {
        let counter = match found {
            Found::Access => &mut self.accesses,
            Found::Invalidate => &mut self.invalidations,
            Found::Garbage => &mut self.garbage,
            Found::Nothing => &mut self.spurious,
        };
        *counter = counter.saturating_add(1);
    }
}

/// Pages, ports and events of one server.
#[derive(Debug)]
pub struct RequestLoop<E> {
    page: Arc<Mapping>,
    /// Of each vCPU: its port, and where its slot begins. In the order of the ports.
    slots: Vec<(Port, usize)>,
    events: E,
    /// Ports whose events were read and are masked.
    held: Vec<Port>,
}

impl<E: Events> RequestLoop<E> {
    /// Puts them together; `ports` are those of vCPU 0, 1 and so on.
    ///
    /// # Errors
    /// Two vCPUs have the same port, or more vCPUs than slots.
    pub fn new(page: Arc<Mapping>, ports: Vec<Port>, events: E) -> Result<RequestLoop<E>, Error> {
        let mut slots = Vec::with_capacity(ports.len());
        for (vcpu, port) in (0..).zip(ports) {
            let offset = slot::offset(vcpu).filter(|&offset| offset < page.len());
            let offset = offset.ok_or_else(|| Error::unfit("more vCPUs than slots in the ioreq page"))?;
            slots.push((port, offset));
        }
        slots.sort_unstable();
        if let Some([(port, _), _]) = slots.array_windows().find(|[one, next]| one.0 == next.0) {
            return Err(Error::unfit(format!("two vCPUs on event channel {}", port.0)));
        }
        Ok(RequestLoop { page, slots, events, held: Vec::new() })
    }

    /// Where the events come from.
    pub fn events(&self) -> &E {
        &self.events
    }

    /// Serves what events tell of, without waiting.
    ///
    /// # Errors
    /// The events fail.
    pub fn serve_ready(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        let served = self.drain_events(device);
        let armed = self.arm_notifications();
        served.and_then(|served| armed.map(|()| served))
    }

    /// The same, and holds further events of these vCPUs back until [`RequestLoop::arm_notifications`]. One that comes meanwhile makes the
    /// file readable then.
    ///
    /// # Errors
    /// The events fail.
    pub fn drain_events(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        let mut served = Served::default();
        let mut held = std::mem::take(&mut self.held);
        let result = self.serve_some(device, &mut held, &mut served);
        self.held = held;
        result.map(|()| served)
    }

    /// Serves what stands in the slots, whether an event told of it or not. Without a turn to take it makes no system
    /// call.
    ///
    /// # Errors
    /// The events fail.
    pub fn poll_once(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        let mut served = Served::default();
        // One vCPU's trouble leaves the others their turn.
        let mut result = Ok(());
        for &(port, offset) in &self.slots {
            let found = slot::serve(&self.page.slice(), offset, device);
            if found.is_answered() {
                served.count(found);
                result = result.and(self.events.notify(port));
            }
        }
        result.map(|()| served)
    }

    /// Lets events come again, those included that came since they were held back.
    ///
    /// # Errors
    /// The events fail.
    pub fn arm_notifications(&mut self) -> Result<(), Error> {
        if self.held.is_empty() {
            return Ok(());
        }
        // An event that came while its port was masked is delivered by this: none is lost between the last look and a
        // wait.
        let result = self.events.unmask(&self.held);
        self.held.clear();
        result
    }

    fn serve_some(
        &mut self,
        device: &mut dyn Mmio,
        held: &mut Vec<Port>,
        served: &mut Served,
    ) -> Result<(), Error> {
        let mut more = true;
        while more {
            // Only what this read adds: ports from before are masked, and their events cannot have come again.
            let known = held.len();
            more = self.events.pending(held)?;
            let mut result = Ok(());
            for &port in held.get(known..).unwrap_or_default() {
                result = result.and(self.serve_port(port, device, served));
            }
            result?;
        }
        Ok(())
    }

    /// Serves the vCPU of a port. There may be nothing to do: the event is that of an access which
    /// [`RequestLoop::poll_once`] has answered before it was read.
    fn serve_port(&mut self, port: Port, device: &mut dyn Mmio, served: &mut Served) -> Result<(), Error> {
        let place = self.slots.binary_search_by_key(&port, |slot| slot.0).ok();
        let offset = place.and_then(|place| self.slots.get(place));
        let found =
            offset.map_or(Found::Nothing, |&(_, offset)| slot::serve(&self.page.slice(), offset, device));
        served.count(found);
        if found.is_answered() { self.events.notify(port) } else { Ok(()) }
    }
}
