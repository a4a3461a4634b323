//! The hypervisor's side of an ioreq server, in memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenolith_abi::Port;
use xenolith_abi::ioreq::{READ, RequestType, STATE_MASK, Slot, State};

use crate::xen::server::{Events, RequestLoop, offset, peek, poke};
use crate::xen::{Mapping, PAGE_SIZE};
use crate::{Error, Mmio};

/// The first vCPU's port.
const FIRST_PORT: u32 = 100;

/// A hypervisor that forwards accesses to one server.
pub struct Hypervisor {
    page: Arc<Mapping>,
    wires: Arc<Mutex<Wires>>,
}

/// Events on their way.
#[derive(Debug, Default)]
struct Wires {
    /// To the server.
    pending: VecDeque<Port>,
    /// Read by the server and not unmasked: their events wait.
    masked: BTreeSet<Port>,
    /// From the server.
    notified: Vec<Port>,
}

/// The server's side of the events.
#[derive(Debug)]
pub struct MockEvents(Arc<Mutex<Wires>>);

impl Hypervisor {
    /// A hypervisor and the loop of a server for a guest with so many vCPUs.
    ///
    /// # Errors
    /// More vCPUs than one page has slots.
    pub fn new(vcpus: u32) -> Result<(Hypervisor, RequestLoop<MockEvents>), Error> {
        let page = Mapping::anonymous(PAGE_SIZE).map_err(|source| Error::call("make memory", source))?;
        let page = Arc::new(page);
        let wires = Arc::new(Mutex::new(Wires::default()));
        let ports = (0..vcpus).map(port_of).collect();
        let requests = RequestLoop::new(Arc::clone(&page), ports, MockEvents(Arc::clone(&wires)))?;
        Ok((Hypervisor { page, wires }, requests))
    }

    /// Has a vCPU read, from the trap to the value that it sees; `None` if the device's side did not answer.
    pub fn read(
        &self,
        requests: &mut RequestLoop<MockEvents>,
        device: &mut dyn Mmio,
        vcpu: u32,
        address: u64,
        size: u8,
    ) -> Option<u64> {
        self.put(vcpu, &access(address, size, READ, 0));
        self.send(vcpu);
        requests.serve_ready(device).ok()?;
        self.take(vcpu)
    }

    /// Has a vCPU write; `None` if the device's side did not answer.
    pub fn write(
        &self,
        requests: &mut RequestLoop<MockEvents>,
        device: &mut dyn Mmio,
        vcpu: u32,
        address: u64,
        size: u8,
        value: u64,
    ) -> Option<()> {
        self.put(vcpu, &access(address, size, 0, value));
        self.send(vcpu);
        requests.serve_ready(device).ok()?;
        self.take(vcpu).map(drop)
    }

    /// Tells the server that pages left the guest; `None` if the device's side did not answer.
    pub fn invalidate(
        &self,
        requests: &mut RequestLoop<MockEvents>,
        device: &mut dyn Mmio,
        vcpu: u32,
    ) -> Option<()> {
        let kind = RequestType::Invalidate.number();
        self.put(vcpu, &Slot { kind, size: 4, data: u64::MAX, ..access(0, 4, 0, 0) });
        self.send(vcpu);
        requests.serve_ready(device).ok()?;
        self.take(vcpu).map(drop)
    }

    /// Fills a vCPU's slot with anything.
    pub fn put(&self, vcpu: u32, slot: &Slot) {
        let place = offset(vcpu).and_then(|offset| poke(&self.page.slice(), offset, slot));
        debug_assert!(place.is_some(), "no slot for vCPU {vcpu}");
    }

    /// A vCPU's slot as it stands.
    pub fn slot(&self, vcpu: u32) -> Option<Slot> {
        peek(&self.page.slice(), offset(vcpu)?)
    }

    /// Sends a vCPU's event to the server.
    pub fn send(&self, vcpu: u32) {
        self.send_port(port_of(vcpu));
    }

    /// Sends any event to the server.
    pub fn send_port(&self, port: Port) {
        lock(&self.wires).pending.push_back(port);
    }

    /// The vCPUs whose answer the server announced since the last call.
    pub fn take_notified(&self) -> Vec<u32> {
        let ports = std::mem::take(&mut lock(&self.wires).notified);
        ports.into_iter().filter_map(|port| port.0.checked_sub(FIRST_PORT)).collect()
    }

    /// Takes an answer: only if it was announced and the slot says so.
    fn take(&self, vcpu: u32) -> Option<u64> {
        let announced = self.take_notified().contains(&vcpu);
        let slot = self.slot(vcpu)?;
        if !announced || slot.flags & STATE_MASK != State::ResponseReady.number() {
            return None;
        }
        self.put(vcpu, &Slot { flags: 0, ..slot });
        Some(slot.data)
    }
}

impl Events for MockEvents {
    fn pending(&mut self, ports: &mut Vec<Port>) -> Result<bool, Error> {
        let wires = &mut *lock(&self.0);
        for port in std::mem::take(&mut wires.pending) {
            if wires.masked.contains(&port) {
                wires.pending.push_back(port);
            } else {
                ports.push(port);
            }
        }
        wires.masked.extend(ports.iter());
        Ok(false)
    }

    fn unmask(&mut self, ports: &[Port]) -> Result<(), Error> {
        let wires = &mut *lock(&self.0);
        ports.iter().for_each(|port| {
            wires.masked.remove(port);
        });
        Ok(())
    }

    fn notify(&mut self, port: Port) -> Result<(), Error> {
        lock(&self.0).notified.push(port);
        Ok(())
    }
}

/// The port of a vCPU.
fn port_of(vcpu: u32) -> Port {
    Port(FIRST_PORT.saturating_add(vcpu))
}

/// A request for one access, ready to be served.
fn access(addr: u64, size: u8, direction: u8, data: u64) -> Slot {
    Slot {
        addr,
        data,
        count: 1,
        size: u32::from(size),
        flags: direction | State::Ready.number(),
        kind: RequestType::Copy.number(),
        ..Slot::default()
    }
}

fn lock(wires: &Mutex<Wires>) -> MutexGuard<'_, Wires> {
    wires.lock().unwrap_or_else(PoisonError::into_inner)
}
