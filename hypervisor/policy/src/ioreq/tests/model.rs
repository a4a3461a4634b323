//! What requests must do, said as simply as possible, beside the real thing. Every step is made on both, and what can
//! be seen from outside must agree.

use crate::event::{ConsumerTag, Port};
use crate::ioreq::{Completed, Outcome, Posted, Removed, ServerId};
use xenolith_core::types::{DomId, Gfn, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;
use xenolith_memory::stale::StalePages;

use super::support::*;

/// One step of the guest, of a device model, or of a domain that controls one. `server` and `vcpu` are indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Destroy {
        server: usize,
    },
    Enable {
        server: usize,
        on: bool,
    },
    Map {
        server: usize,
    },
    Unmap {
        server: usize,
    },
    /// The guest touches the server's range.
    Access {
        vcpu: usize,
        server: usize,
        write: bool,
    },
    /// Pages left the guest while this vCPU ran.
    Invalidate {
        vcpu: usize,
    },
    /// The vCPU is about to run.
    Fetch {
        vcpu: usize,
    },
    /// The server is ended if nobody serves it any more.
    Sweep {
        server: usize,
    },
    /// The device model writes a state, and data that name server and vCPU.
    Write {
        server: usize,
        vcpu: usize,
        state: u8,
    },
    Notify {
        server: usize,
        vcpu: usize,
    },
    Lost {
        server: usize,
        vcpu: usize,
    },
    Connect {
        server: usize,
        vcpu: usize,
    },
    /// News of a server that had this number before: a lost port, then an event.
    Stale {
        server: usize,
        vcpu: usize,
    },
}

/// Whose turn a slot is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    Working,
    Answered,
    /// Empty, or in a state that means nothing.
    Other,
}

impl Slot {
    fn of(state: u8) -> Self {
        match state {
            1 | 2 => Slot::Working,
            3 => Slot::Answered,
            _ => Slot::Other,
        }
    }
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Set(u8);

impl Set {
    fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn remove(&mut self, index: usize) {
        self.0 &= !(1 << index);
    }

    fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |&index| self.contains(index))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    enabled: bool,
    mapped: bool,
    bound: Set,
    lost: Set,
    /// None until the page exists.
    slots: Option<Vec<Slot>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waits {
    Idle,
    Access {
        server: usize,
        write: bool,
    },
    Invalidate {
        servers: Set,
    },
    /// The server that answered, if it did.
    Done {
        by: Option<usize>,
        write: bool,
    },
}

/// The simple half.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    servers: Vec<Option<Server>>,
    waits: Vec<Waits>,
}

impl Model {
    /// The server will do no more for the vCPU. Whether the vCPU waits no longer.
    fn end(&mut self, vcpu: usize, server: usize, answered: bool) -> bool {
        match &mut self.waits[vcpu] {
            Waits::Access { server: asked, write } if *asked == server => {
                self.waits[vcpu] = Waits::Done { by: answered.then_some(server), write: *write };
                true
            }
            Waits::Invalidate { servers } if servers.contains(server) => {
                servers.remove(server);
                let over = servers.is_empty();
                if over {
                    self.waits[vcpu] = Waits::Idle;
                }
                over
            }
            _ => false,
        }
    }

    fn waits_for(&self, vcpu: usize, server: usize) -> bool {
        match &self.waits[vcpu] {
            Waits::Access { server: asked, .. } => *asked == server,
            Waits::Invalidate { servers } => servers.contains(server),
            _ => false,
        }
    }

    fn is_waiting(&self, vcpu: usize) -> bool {
        matches!(self.waits[vcpu], Waits::Access { .. } | Waits::Invalidate { .. })
    }
}

/// Both halves.
pub struct World {
    pub model: Model,
    domain: Domain,
    /// How many servers may exist at once.
    servers: usize,
    vcpus: usize,
    /// Per vCPU: requests posted, and waits that ended.
    posted: Vec<u64>,
    ended: Vec<u64>,
}

fn vcpu_id(vcpu: usize) -> VcpuId {
    VcpuId(vcpu as u16)
}

fn base(server: usize) -> u64 {
    0x1000 * server as u64
}

/// What a device model answers: its own number and the vCPU's.
fn data(server: usize, vcpu: usize) -> u64 {
    0x1_0000 + 0x100 * server as u64 + vcpu as u64
}

fn owner(server: usize) -> DomId {
    DomId(10 + server as u16)
}

impl World {
    pub fn new(vcpus: usize, servers: usize) -> Self {
        World {
            model: Model { servers: vec![None; servers], waits: vec![Waits::Idle; vcpus] },
            domain: Domain::new(vcpus as u16),
            servers,
            vcpus,
            posted: vec![0; vcpus],
            ended: vec![0; vcpus],
        }
    }

    /// Every step, with these values of a slot's state.
    pub fn ops(vcpus: usize, servers: usize, states: &[u8]) -> Vec<Op> {
        let mut ops = vec![Op::Create];
        for server in 0..servers {
            ops.extend([
                Op::Destroy { server },
                Op::Sweep { server },
                Op::Map { server },
                Op::Unmap { server },
            ]);
            ops.extend([true, false].map(|on| Op::Enable { server, on }));
            for vcpu in 0..vcpus {
                ops.extend([true, false].map(|write| Op::Access { vcpu, server, write }));
                ops.extend(states.iter().map(|&state| Op::Write { server, vcpu, state }));
                ops.extend([Op::Notify { server, vcpu }, Op::Lost { server, vcpu }]);
                ops.extend([Op::Connect { server, vcpu }, Op::Stale { server, vcpu }]);
            }
        }
        ops.extend((0..vcpus).flat_map(|vcpu| [Op::Invalidate { vcpu }, Op::Fetch { vcpu }]));
        ops
    }

    /// The mark of a server's port for a vCPU, of this server or, `ago` servers earlier, of one with its number.
    fn tag(&self, server: usize, vcpu: usize, ago: usize) -> Option<ConsumerTag> {
        let number = ConsumerTag(server as u32).0;
        let ours = |&&(of, tag): &&(VcpuId, ConsumerTag)| of == vcpu_id(vcpu) && tag.0 & 0xf == number;
        self.domain.ports.iter().rev().filter(ours).nth(ago).map(|&(_, tag)| tag)
    }

    fn ends(&mut self, vcpu: usize, outcome: Outcome, expected: bool) {
        assert_eq!(outcome == Outcome::Finished, expected);
        self.ended[vcpu] += u64::from(expected);
    }

    /// Makes a step on both halves.
    pub fn apply(&mut self, op: Op) {
        self.step(op);
        self.check();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Create => {
                let Some(index) = self.model.servers.iter().position(Option::is_none) else { return };
                let id = self.domain.create(owner(index));
                assert_eq!(id, ServerId(index as u16));
                self.model.servers[index] = Some(Server {
                    enabled: false,
                    mapped: false,
                    bound: Set::default(),
                    lost: Set::default(),
                    slots: None,
                });
            }
            Op::Destroy { server } => self.destroy(server),
            Op::Sweep { server } => self.sweep(server),
            Op::Enable { server, on } => self.enable(server, on),
            Op::Map { server } => self.map(server, true),
            Op::Unmap { server } => self.map(server, false),
            Op::Access { vcpu, server, write } => self.access(vcpu, server, write),
            Op::Invalidate { vcpu } => self.invalidate(vcpu),
            Op::Fetch { vcpu } => self.fetch(vcpu),
            Op::Write { server, vcpu, state } => self.write(server, vcpu, state),
            Op::Notify { server, vcpu } => self.notify(server, vcpu),
            Op::Lost { server, vcpu } => self.lost(server, vcpu),
            Op::Connect { server, vcpu } => {
                let Some(known) = &mut self.model.servers[server] else { return };
                known.lost.remove(vcpu);
                known.bound.insert(vcpu);
                let tag = self.tag(server, vcpu, 0).unwrap();
                self.domain.servers.on_peer_bound(tag, vcpu_id(vcpu));
            }
            Op::Stale { server, vcpu } => {
                let ago = usize::from(self.model.servers[server].is_some());
                let Some(tag) = self.tag(server, vcpu, ago) else { return };
                assert_eq!(self.domain.servers.on_peer_closed(tag, vcpu_id(vcpu)), Outcome::Nothing);
                assert_eq!(self.domain.servers.on_response(tag, vcpu_id(vcpu)), Outcome::Nothing);
            }
        }
    }

    fn destroy(&mut self, server: usize) {
        let result = self.domain.servers.destroy(ServerId(server as u16), Some(owner(server)));
        assert_eq!(result.is_ok(), self.model.servers[server].is_some());
        if let Ok(removed) = result {
            self.removed(server, removed);
        }
    }

    fn sweep(&mut self, server: usize) {
        let Some(tag) = self.tag(server, 0, 0) else { return };
        let known = self.model.servers[server].as_ref();
        let deserted = known.is_some_and(|known| known.bound.is_empty() && !known.lost.is_empty());
        let result = self.domain.servers.destroy_deserted(tag);
        assert_eq!(result.is_some(), deserted);
        if let Some((id, removed)) = result {
            assert_eq!(id, ServerId(server as u16));
            self.removed(server, removed);
        }
    }

    /// What was handed back of a server that is no more.
    fn removed(&mut self, server: usize, removed: Removed<Frame>) {
        let known = self.model.servers[server].take().unwrap();
        assert_eq!(removed.ports.len(), self.vcpus);
        assert_eq!(removed.frames.len(), usize::from(known.slots.is_some()));
        let mut released = VcpuSet::default();
        for vcpu in 0..self.vcpus {
            if self.model.end(vcpu, server, false) {
                released.insert(vcpu_id(vcpu));
                self.ended[vcpu] += 1;
            }
            assert!(!self.model.waits_for(vcpu, server));
        }
        assert_eq!(removed.released, released);
    }

    fn enable(&mut self, server: usize, on: bool) {
        let held = &self.domain.held;
        let id = ServerId(server as u16);
        let result = self.domain.servers.set_enabled(id, owner(server), on, || Some(Frame::new(held)));
        let Some(known) = &mut self.model.servers[server] else {
            assert!(result.is_err());
            return;
        };
        result.unwrap();
        known.enabled = on;
        if on && known.slots.is_none() {
            known.slots = Some(vec![Slot::Other; self.vcpus]);
        }
    }

    fn map(&mut self, server: usize, map: bool) {
        let (id, by, first) = (ServerId(server as u16), owner(server), base(server));
        let servers = &mut self.domain.servers;
        let result = if map {
            servers.map_range(id, by, first, first + 0xff)
        } else {
            servers.unmap_range(id, by, first, first + 0xff)
        };
        let known = self.model.servers[server].as_mut().filter(|known| known.mapped != map);
        assert_eq!(result.is_ok(), known.is_some());
        if let Some(known) = known {
            known.mapped = map;
        }
    }

    fn access(&mut self, vcpu: usize, server: usize, write: bool) {
        if self.model.is_waiting(vcpu) {
            // A vCPU that waits does not run.
            return;
        }
        self.fetch(vcpu);
        let request = if write { super::support::write(base(server), 4, 1) } else { read(base(server), 4) };
        let route = self.domain.route(request.address);
        let known = self.model.servers[server].as_mut().filter(|known| known.enabled && known.mapped);
        assert_eq!(route.is_some(), known.is_some());
        let (Some(id), Some(known)) = (route, known) else { return };
        assert_eq!(id, ServerId(server as u16));
        match self.domain.servers.post(vcpu_id(vcpu), id, &request) {
            Posted::Refused => assert!(known.lost.contains(vcpu)),
            Posted::Notify(port) => {
                assert!(!known.lost.contains(vcpu));
                known.slots.as_mut().unwrap()[vcpu] = Slot::Working;
                self.model.waits[vcpu] = Waits::Access { server, write };
                self.posted[vcpu] += 1;
                self.check_port(port, server, vcpu);
            }
        }
    }

    fn check_port(&self, port: Port, server: usize, vcpu: usize) {
        assert_eq!(Some(self.domain.tag(port)), self.tag(server, vcpu, 0));
    }

    fn invalidate(&mut self, vcpu: usize) {
        if self.model.is_waiting(vcpu) {
            return;
        }
        self.fetch(vcpu);
        let ports = self.domain.servers.post_invalidate(vcpu_id(vcpu), &StalePages::page(Gfn(5)));
        let mut servers = Set::default();
        for (index, known) in self.model.servers.iter_mut().enumerate() {
            if let Some(known) = known.as_mut().filter(|known| known.enabled && !known.lost.contains(vcpu)) {
                known.slots.as_mut().unwrap()[vcpu] = Slot::Working;
                servers.insert(index);
            }
        }
        assert_eq!(ports.len(), servers.iter().count());
        for (&port, server) in ports.iter().zip(servers.iter()) {
            self.check_port(port, server, vcpu);
        }
        if servers.is_empty() {
            return;
        }
        self.posted[vcpu] += 1;
        self.model.waits[vcpu] = Waits::Invalidate { servers };
    }

    fn fetch(&mut self, vcpu: usize) {
        let expected = match self.model.waits[vcpu] {
            Waits::Done { by, write } => {
                self.model.waits[vcpu] = Waits::Idle;
                let read = by.map_or(0xffff_ffff, |server| data(server, vcpu));
                Some(Completed { data: if write { 0 } else { read }, answered: by.is_some() })
            }
            _ => None,
        };
        assert_eq!(self.domain.servers.take_result(vcpu_id(vcpu)), expected);
        assert_eq!(self.domain.servers.take_result(vcpu_id(vcpu)), None);
    }

    fn write(&mut self, server: usize, vcpu: usize, state: u8) {
        let known = self.model.servers[server].as_mut();
        let Some(slots) = known.and_then(|known| known.slots.as_mut()) else { return };
        slots[vcpu] = Slot::of(state);
        let id = ServerId(server as u16);
        let frame = self.domain.servers.server(id).unwrap().pages[0].as_ref().unwrap();
        let offset = vcpu * 32;
        frame.0.word64(offset + 8).unwrap().store(data(server, vcpu));
        let flags = frame.0.byte(offset + 30).unwrap();
        flags.store(flags.load() & 0xf0 | state);
    }

    fn notify(&mut self, server: usize, vcpu: usize) {
        if self.model.servers[server].is_none() {
            return;
        }
        let tag = self.tag(server, vcpu, 0).unwrap();
        let outcome = self.domain.servers.on_response(tag, vcpu_id(vcpu));
        let mut over = false;
        if self.model.waits_for(vcpu, server) {
            let slot = &mut self.model.servers[server].as_mut().unwrap().slots.as_mut().unwrap()[vcpu];
            let found = *slot;
            if found != Slot::Working {
                *slot = Slot::Other;
                over = self.model.end(vcpu, server, found == Slot::Answered);
            }
        }
        self.ends(vcpu, outcome, over);
    }

    fn lost(&mut self, server: usize, vcpu: usize) {
        let Some(known) = &mut self.model.servers[server] else { return };
        known.bound.remove(vcpu);
        known.lost.insert(vcpu);
        if let Some(slots) = &mut known.slots {
            slots[vcpu] = Slot::Other;
        }
        let tag = self.tag(server, vcpu, 0).unwrap();
        let outcome = self.domain.servers.on_peer_closed(tag, vcpu_id(vcpu));
        let over = self.model.end(vcpu, server, false);
        assert!(!self.model.waits_for(vcpu, server));
        self.ends(vcpu, outcome, over);
    }

    /// What can be seen at any time.
    fn check(&self) {
        let servers = &self.domain.servers;
        let count = self.model.servers.iter().flatten().count();
        assert_eq!(servers.has_servers(), count != 0);
        assert!(count <= self.servers);
        let pages = self.model.servers.iter().flatten().filter(|server| server.slots.is_some()).count();
        assert_eq!(self.domain.frames_held(), pages);
        for vcpu in 0..self.vcpus {
            assert_eq!(servers.is_waiting(vcpu_id(vcpu)), self.model.is_waiting(vcpu));
            // Each request ends at most once, and one that has not ended is waited for.
            let in_flight = self.posted[vcpu] - self.ended[vcpu];
            assert_eq!(in_flight, u64::from(self.model.is_waiting(vcpu)));
        }
    }

    pub fn is_waiting(&self, vcpu: usize) -> bool {
        self.model.is_waiting(vcpu)
    }

    /// A copy that goes its own way.
    pub fn duplicate(&self) -> Self {
        World {
            model: self.model.clone(),
            domain: self.domain.duplicate(),
            servers: self.servers,
            vcpus: self.vcpus,
            posted: self.posted.clone(),
            ended: self.ended.clone(),
        }
    }
}
