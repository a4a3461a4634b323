//! Device models that write anything into their pages: bytes become accesses of the guest, calls and events of two
//! device models, and writes into the pages at any time.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use xenolith_core::types::{DomId, Gfn, VcpuId};
use xenolith_memory::arena;
use xenolith_memory::page::Page;
use xenolith_memory::stale::StalePages;
use xenolith_policy::event::{ConsumerTag, Port, SharedFrame};
use xenolith_policy::ioreq::{Completed, Outcome, Ports, Posted, Removed, Request, ServerId, Servers};

const VCPUS: u16 = 3;
const OWNERS: [DomId; 2] = [DomId(1), DomId(2)];

thread_local! {
    /// Pages that no frame holds.
    static POOL: RefCell<Vec<Page>> = const { RefCell::new(Vec::new()) };
}

struct Frame(Page);

impl Frame {
    fn new() -> Self {
        Frame(POOL.with_borrow_mut(Vec::pop).unwrap_or_else(arena::page))
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        POOL.with_borrow_mut(|pool| pool.push(self.0));
    }
}

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.0
    }
}

/// Numbers, taken from bytes; zero when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..0xf0 => u64::from(byte),
            0xf0..0xf8 => u64::from_le_bytes(core::array::from_fn(|_| self.byte())),
            byte => u64::MAX - u64::from(byte & 7),
        }
    }

    fn vcpu(&mut self) -> VcpuId {
        VcpuId(u16::from(self.byte() % (VCPUS as u8 + 1)))
    }

    fn owner(&mut self) -> DomId {
        OWNERS[usize::from(self.byte() % 2)]
    }

    /// A server and the domain that acts on it: mostly one of the first two, and its owner.
    fn party(&mut self) -> (ServerId, DomId) {
        match self.byte() {
            byte @ 0..0xe0 => (ServerId(u16::from(byte % 2)), OWNERS[usize::from(byte % 2)]),
            byte => (ServerId(u16::from(byte % 20)), self.owner()),
        }
    }

    fn request(&mut self) -> Request {
        let address = self.word();
        let what = self.byte();
        let size = if what & 0x80 == 0 { 1 << (what & 3) } else { what };
        Request { address, size, write: what & 4 != 0, data: self.word() }
    }
}

struct World {
    servers: Servers<Frame>,
    ports: Vec<(VcpuId, ConsumerTag)>,
    /// Per vCPU: the size and direction of its access in flight, as the guest knows them.
    asked: [Option<Request>; VCPUS as usize],
    /// Per vCPU: whether it waits.
    waits: [bool; VCPUS as usize],
}

impl World {
    /// Two device models at work.
    fn new() -> Option<Self> {
        let servers = Servers::new(VCPUS).ok()?;
        let (asked, waits) = ([None; VCPUS as usize], [false; VCPUS as usize]);
        let mut world = World { servers, ports: Vec::new(), asked, waits };
        for (number, owner) in (0..).zip(OWNERS) {
            let id = ServerId(number);
            world.create(owner);
            let first = 0x100 * u64::from(number);
            world.servers.map_range(id, owner, first, first + 0xff).ok()?;
            world.servers.set_enabled(id, owner, true, || Some(Frame::new())).ok()?;
        }
        Some(world)
    }

    fn create(&mut self, owner: DomId) {
        let ports = &mut self.ports;
        let _ = self.servers.create(owner, &mut Ports::new(), |vcpu, tag| {
            ports.push((vcpu, tag));
            Ok(Port(ports.len() as u32))
        });
    }

    /// The guest's access, from the fault to the wait.
    fn access(&mut self, bytes: &mut Bytes<'_>) {
        let (vcpu, request) = (VcpuId(u16::from(bytes.byte()) % VCPUS), bytes.request());
        let index = usize::from(vcpu.0);
        if self.waits[index] {
            return;
        }
        self.fetch(vcpu);
        let (server, _) = bytes.party();
        if !self.servers.is_enabled(server) {
            return;
        }
        if let Posted::Notify(_) = self.servers.post(vcpu, server, &request) {
            self.waits[index] = true;
            self.asked[index] = Some(request);
        }
    }

    fn invalidate(&mut self, vcpu: VcpuId, stale: Gfn) {
        let ports = self.servers.post_invalidate(vcpu, &StalePages::page(stale));
        if let Some(waits) = self.waits.get_mut(usize::from(vcpu.0)).filter(|_| !ports.is_empty()) {
            assert!(!*waits);
            *waits = true;
            self.asked[usize::from(vcpu.0)] = None;
        }
    }

    fn fetch(&mut self, vcpu: VcpuId) {
        let Some(Completed { data, answered }) = self.servers.take_result(vcpu) else { return };
        let index = usize::from(vcpu.0);
        assert!(!self.waits[index]);
        let request = self.asked[index].take().expect("a result is of an access");
        let mask = u64::MAX >> (64 - u32::from(request.size) * 8);
        assert_eq!(data & !mask, 0);
        assert!(answered || data == if request.write { 0 } else { mask });
    }

    fn ended(&mut self, vcpu: VcpuId, outcome: Outcome) {
        if outcome == Outcome::Finished {
            let waits = &mut self.waits[usize::from(vcpu.0)];
            assert!(*waits, "a wait ends once");
            *waits = false;
        }
    }

    fn removed(&mut self, removed: Removed<Frame>) {
        for vcpu in removed.released.iter() {
            self.ended(vcpu, Outcome::Finished);
        }
    }

    /// A device model writes somewhere into one of its pages: mostly into what matters.
    fn scribble(&mut self, bytes: &mut Bytes<'_>) {
        let ((server, owner), frame) = (bytes.party(), u64::from(bytes.byte() % 3));
        let Ok(page) = self.servers.frame(server, owner, frame, || Some(Frame::new())).map(SharedFrame::page)
        else {
            return;
        };
        let slot = usize::from(bytes.byte()) % usize::from(VCPUS) * 32;
        let written = match bytes.byte() % 5 {
            4 => page.write(slot + 30, &[3]),
            0 => page.write(slot + 30, &[bytes.byte()]),
            1 => page.write(slot + 8, &bytes.word().to_le_bytes()),
            2 => page.write(0, &bytes.word().to_le_bytes()),
            _ => page.write(usize::from(bytes.byte()) * 16, &bytes.word().to_le_bytes()),
        };
        assert!(written);
    }

    /// One of the first two device models answers a vCPU: any value, and a state that is mostly right.
    fn answer(&mut self, bytes: &mut Bytes<'_>) {
        let number = u16::from(bytes.byte() % 2);
        let vcpu = VcpuId(u16::from(bytes.byte()) % VCPUS);
        let id = ServerId(number);
        let frame = self.servers.frame(id, OWNERS[usize::from(number)], 1, || None);
        let Ok(page) = frame.map(SharedFrame::page) else { return };
        let state = match bytes.byte() {
            byte @ 0..0x20 => byte,
            _ => 3,
        };
        let slot = usize::from(vcpu.0) * 32;
        assert!(page.write(slot + 8, &[bytes.byte(); 8]) && page.write(slot + 30, &[state]));
        let Some(&(vcpu, tag)) = self.ports.get(usize::from(number * VCPUS + vcpu.0)) else { return };
        let outcome = self.servers.on_response(tag, vcpu);
        self.ended(vcpu, outcome);
    }

    fn event(&mut self, bytes: &mut Bytes<'_>) {
        let port = usize::from(bytes.byte()).checked_rem(self.ports.len()).unwrap_or(0);
        let Some(&(vcpu, tag)) = self.ports.get(port) else { return };
        match bytes.byte() % 8 {
            0 => {
                let outcome = self.servers.on_peer_closed(tag, vcpu);
                self.ended(vcpu, outcome);
            }
            1 => self.servers.on_peer_bound(tag, vcpu),
            2 => {
                if let Some((_, removed)) = self.servers.destroy_deserted(tag) {
                    self.removed(removed);
                }
            }
            _ => {
                let outcome = self.servers.on_response(tag, vcpu);
                self.ended(vcpu, outcome);
            }
        }
    }

    fn control(&mut self, bytes: &mut Bytes<'_>) {
        let (id, owner) = bytes.party();
        match bytes.byte() % 8 {
            0 => self.create(owner),
            1 => {
                if let Ok(removed) = self.servers.destroy(id, Some(owner)) {
                    self.removed(removed);
                }
            }
            2 | 3 => {
                let frames = bytes.byte() % 4;
                let mut left = frames;
                let alloc = || {
                    left = left.checked_sub(1)?;
                    Some(Frame::new())
                };
                let _ = self.servers.set_enabled(id, owner, bytes.byte() % 4 != 0, alloc);
            }
            4 => drop(self.servers.require(id, owner)),
            5 => {
                let _ = self.servers.unmap_range(id, owner, bytes.word(), bytes.word());
            }
            _ => {
                let _ = self.servers.map_range(id, owner, bytes.word(), bytes.word());
            }
        }
    }

    fn check(&self) {
        for (vcpu, &waits) in (0..).map(VcpuId).zip(&self.waits) {
            assert_eq!(self.servers.is_waiting(vcpu), waits);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let mut world = World::new().expect("two servers fit");
    while !bytes.0.is_empty() {
        match bytes.byte() % 12 {
            0 => world.control(&mut bytes),
            1..4 => world.access(&mut bytes),
            4 => world.invalidate(bytes.vcpu(), Gfn(bytes.word())),
            5 | 6 => world.scribble(&mut bytes),
            7 => world.answer(&mut bytes),
            8..11 => world.event(&mut bytes),
            _ => world.fetch(VcpuId(u16::from(bytes.byte()) % VCPUS)),
        }
        world.check();
    }
    // Whatever happened, the end of all servers lets every vCPU go.
    while let Some(id) = world.servers.any() {
        if let Ok(removed) = world.servers.destroy(id, None) {
            world.removed(removed);
        }
    }
    assert_eq!(world.waits, [false; VCPUS as usize]);
    assert_eq!(world.servers.held_frames(), 0);
});
