//! A domain's servers, and the device model's half of the pages.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use xenolith_abi::Errno;
use xenolith_abi::ioreq::Slot;
use zerocopy::{FromBytes, IntoBytes};

use crate::event::{ConsumerTag, Port, SharedFrame};
use crate::ioreq::server::Server;
use crate::ioreq::{Ports, RANGES, Request, ServerId, Servers};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;
use xenolith_memory::intervals::Intervals;
use xenolith_memory::page::Page;

pub const GUEST_VCPUS: u16 = 2;
pub const OWNER: DomId = DomId(3);
pub const OTHER: DomId = DomId(4);
pub const V0: VcpuId = VcpuId(0);
pub const V1: VcpuId = VcpuId(1);

thread_local! {
    /// Pages that no frame holds any more, for the next one.
    static POOL: RefCell<Vec<Page>> = const { RefCell::new(Vec::new()) };
}

/// A frame that is counted for as long as it is held.
#[derive(Debug)]
pub struct Frame(pub Page, pub Arc<AtomicUsize>);

impl Frame {
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        let page = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(page);
        // As a frame that somebody else had before.
        page.byte(7).unwrap().store(0xee);
        Frame(page, count.clone())
    }
}

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
        POOL.with_borrow_mut(|pool| pool.push(self.0));
    }
}

/// A domain's servers, with the ports and frames that stand behind them.
pub struct Domain {
    pub servers: Servers<Frame>,
    /// Frames that are held.
    pub held: Arc<AtomicUsize>,
    /// Every port made so far: its vCPU and mark. Ports are numbered from 1.
    pub ports: Vec<(VcpuId, ConsumerTag)>,
}

impl Domain {
    pub fn new(vcpus: u16) -> Self {
        Domain { servers: Servers::new(vcpus).unwrap(), held: Arc::default(), ports: Vec::new() }
    }

    pub fn create(&mut self, owner: DomId) -> ServerId {
        let ports = &mut self.ports;
        self.servers.create(owner, &mut Ports::new(), |vcpu, tag| Ok(make_port(ports, vcpu, tag))).unwrap()
    }

    /// The enabled server that has claimed an address.
    pub fn route(&self, address: u64) -> Option<ServerId> {
        let id = self.servers.ranges.find(address)?.value;
        self.servers.is_enabled(id).then_some(id)
    }

    /// A server of [`OWNER`] that is enabled and has 0x100 bytes at 0x1000 times its number.
    pub fn serve(&mut self) -> ServerId {
        let id = self.create(OWNER);
        let first = u64::from(id.0) * 0x1000;
        self.servers.map_range(id, OWNER, first, first + 0xff).unwrap();
        self.enable(id).unwrap();
        id
    }

    pub fn enable(&mut self, id: ServerId) -> Result<(), Errno> {
        self.servers.set_enabled(id, OWNER, true, || Some(Frame::new(&self.held)))
    }

    pub fn frame(&mut self, id: ServerId, by: DomId, index: u64) -> Result<Page, Errno> {
        self.servers.frame(id, by, index, || Some(Frame::new(&self.held))).map(SharedFrame::page)
    }

    pub fn frames_held(&self) -> usize {
        assert_eq!(self.servers.held_frames(), self.held.load(Ordering::Relaxed));
        self.servers.held_frames()
    }

    /// The mark of a port.
    pub fn tag(&self, port: Port) -> ConsumerTag {
        self.ports[port.0 as usize - 1].1
    }

    /// A copy of a vCPU's slot.
    pub fn slot(&mut self, id: ServerId, vcpu: VcpuId) -> Slot {
        let page = self.frame(id, OWNER, 1).unwrap();
        let mut bytes = [0; 32];
        assert!(page.read(usize::from(vcpu.0) * 32, &mut bytes));
        Slot::read_from_bytes(&bytes).unwrap()
    }

    /// Overwrites a vCPU's slot.
    pub fn set_slot(&mut self, id: ServerId, vcpu: VcpuId, slot: &Slot) {
        let page = self.frame(id, OWNER, 1).unwrap();
        assert!(page.write(usize::from(vcpu.0) * 32, slot.as_bytes()));
    }

    /// The device model writes data and state, and leaves the rest.
    pub fn answer(&mut self, id: ServerId, vcpu: VcpuId, state: u8, data: u64) {
        let mut slot = self.slot(id, vcpu);
        slot.data = data;
        slot.flags = slot.flags & !0xf | state;
        self.set_slot(id, vcpu, &slot);
    }
}

pub fn make_port(ports: &mut Vec<(VcpuId, ConsumerTag)>, vcpu: VcpuId, tag: ConsumerTag) -> Port {
    ports.push((vcpu, tag));
    Port(ports.len() as u32)
}

pub fn read(address: u64, size: u8) -> Request {
    Request { address, size, write: false, data: 0x5555 }
}

pub fn write(address: u64, size: u8, data: u64) -> Request {
    Request { address, size, write: true, data }
}

impl Domain {
    /// A copy that goes its own way. Of pages, the slots of the first vCPUs are copied.
    pub fn duplicate(&self) -> Self {
        let held = Arc::default();
        let copy = |frame: &Frame| {
            let copy = Frame::new(&held);
            let mut bytes = [0; 256];
            assert!(frame.0.read(0, &mut bytes) && copy.0.write(0, &bytes));
            copy
        };
        let servers = &self.servers;
        let places = servers.places.iter().map(|place| {
            place.as_ref().map(|server| Server {
                owner: server.owner,
                generation: server.generation,
                enabled: server.enabled,
                bound: server.bound,
                lost: server.lost,
                ranges: server.ranges,
                pages: server.pages.each_ref().map(|page| page.as_ref().map(copy)),
            })
        });
        let mut ranges = Intervals::try_new(RANGES).unwrap();
        for range in servers.ranges.iter() {
            ranges.insert(range.first, range.last, range.value, usize::MAX).unwrap();
        }
        let servers = Servers {
            vcpus: servers.vcpus,
            count: servers.count,
            places: places.collect(),
            ports: servers.ports.clone(),
            waits: servers.waits.clone(),
            ranges,
            generation: servers.generation,
        };
        Domain { servers, held, ports: self.ports.clone() }
    }
}
