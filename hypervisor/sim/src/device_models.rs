//! A driver domain that is the device model of one guest and tries everything: bytes become its calls, what it writes into
//! its ioreq pages, and the guest's accesses, and after each step the books must agree. Both a property test and a fuzz
//! target play it.

use alloc::vec::Vec;
use xenolith_memory::arc::Arc;

use xenolith_abi::Errno;
use xenolith_abi::dm::{Buffer, DmOp, Header};
use xenolith_abi::event::{BindInterdomain, EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, AddToPhysmapBatch, MapSpace, MemoryOp, Resource};
use xenolith_abi::xenolith::{DeviceModel, Slot as DeviceSlot, SlotInterrupt, XenolithOp};
use zerocopy::{FromZeros, IntoBytes};

use xenolith_abi::Port;
use xenolith_core::types::{DomId, PAGE_SIZE};
use xenolith_cpu::Event;
use xenolith_domain::domain::Domain;
use xenolith_isa::trap::Syndrome;
use xenolith_policy::ioreq::SERVERS;

use super::hostile::Bytes;
use super::{Machine, Plan, RAM_BASE};

const PAGES: u64 = 32;
/// Steps made of one input.
const STEPS: usize = 96;
/// The guest.
const GUEST: u16 = 1;
/// Where devices may be.
const DEVICES: u64 = 0x0200_0000;
/// Where the driver domain maps pages of others: in a hole behind its RAM.
const WINDOW: u64 = RAM_BASE.0 + 0x1000;

struct Player {
    machine: Machine,
    domains: [Arc<Domain>; 3],
}

impl Player {
    fn new() -> Self {
        let mut machine = Machine::new(3, 2048);
        let plan = Plan { id: 0, vcpus: 1, pages: PAGES, direct_mapped: false };
        let domains = [0, GUEST, 2].map(|id| machine.boot(Plan { id, ..plan }));
        assert_eq!(domains[1].allow_device_model(&domains[2]), Ok(()));
        Player { machine, domains }
    }

    /// Where arguments are put.
    fn at(page: u64) -> u64 {
        (RAM_BASE.0 + page) * PAGE_SIZE
    }

    /// A hypercall of a domain, if one of its vCPUs runs.
    fn call(&mut self, domain: usize, call: Hypercall, arguments: [u64; 5]) {
        let Some(cpu) = self.machine.cpu_of(&self.domains[domain], 0) else { return };
        let result = self.machine.hypercall(cpu, call.number(), arguments);
        let known = |result: i64| {
            result >= 0 || Errno::ALL.iter().any(|errno| i64::from(errno.to_result()) == result)
        };
        assert!(result.is_none_or(known), "{call:?} returns {result:?}");
    }

    fn dm_op(&mut self, bytes: &mut Bytes<'_>) {
        let op = match bytes.below(8) {
            0 => bytes.below(32) as u32,
            _ => DmOp::ALL[bytes.below(DmOp::ALL.len() as u64) as usize].number(),
        };
        let (array, at) = (Self::at(1), Self::at(1) + 256);
        let header = Header { op, pad: u32::from(bytes.below(16) == 0) };
        let server = bytes.below(SERVERS as u64 + 1);
        let content: Vec<u8> = match DmOp::from_number(op) {
            Some(DmOp::MapRange | DmOp::UnmapRange) => {
                let start = DEVICES + bytes.below(8) * 0x80;
                let end = start.wrapping_add(bytes.below(4) * 0x80).wrapping_sub(bytes.below(2));
                let kind = if bytes.below(8) == 0 { bytes.below(4) } else { 1 };
                [server | kind << 32, start, end].into_iter().flat_map(u64::to_le_bytes).collect()
            }
            Some(DmOp::SetIrqLevel) => [bytes.below(128), 0].into_iter().flat_map(u64::to_le_bytes).collect(),
            Some(DmOp::SetServerState) => {
                [server | bytes.below(2) << 16, 0].into_iter().flat_map(u64::to_le_bytes).collect()
            }
            Some(DmOp::CreateServer) => [u64::from(bytes.below(8) == 0), 0].as_bytes().to_vec(),
            _ => [server, bytes.below(4)].into_iter().flat_map(u64::to_le_bytes).collect(),
        };
        let size = match bytes.below(8) {
            0 => bytes.below(40),
            _ => 32,
        };
        self.machine.poke(&self.domains[2], array, &Buffer { address: at.into(), size });
        self.machine.poke(&self.domains[2], at, &header);
        self.machine.poke(&self.domains[2], at + 8, content.as_slice());
        let guest = if bytes.below(8) == 0 { bytes.below(4) } else { GUEST.into() };
        let buffers = if bytes.below(16) == 0 { bytes.below(4) } else { 1 };
        self.call(2, Hypercall::DmOp, [guest, buffers, array, 0, 0]);
    }

    /// Maps a server's page, or a page of the guest, into the driver domain.
    fn map(&mut self, bytes: &mut Bytes<'_>) {
        let (list, at) = (Self::at(3), Self::at(2));
        let window = WINDOW + bytes.below(8);
        self.machine.poke(&self.domains[2], list, &[window, RAM_BASE.0 + bytes.below(PAGES + 1)]);
        if bytes.below(2) == 0 {
            let mut request = AcquireResource::new_zeroed();
            (request.domid, request.kind) = (DomId(GUEST), Resource::IoreqServer.number());
            (request.id, request.frame) = (bytes.below(SERVERS as u64 + 1) as u32, bytes.below(3));
            (request.nr_frames, request.frame_list) = (1, list.into());
            self.machine.poke(&self.domains[2], at, &request);
            let op = MemoryOp::AcquireResource.number().into();
            return self.call(2, Hypercall::MemoryOp, [op, at, 0, 0, 0]);
        }
        let mut request = AddToPhysmapBatch::new_zeroed();
        (request.domid, request.foreign_domid) = (DomId::SELF, DomId(bytes.below(3) as u16));
        (request.space, request.size) = (MapSpace::GmfnForeign.number() as u16, 1);
        (request.gpfns, request.idxs, request.errs) = (list.into(), (list + 8).into(), (list + 16).into());
        self.machine.poke(&self.domains[2], at, &request);
        let op = MemoryOp::AddToPhysmapBatch.number().into();
        self.call(2, Hypercall::MemoryOp, [op, at, 0, 0, 0]);
    }

    /// Writes anything into what the driver domain has mapped of others.
    fn scribble(&mut self, bytes: &mut Bytes<'_>) {
        let at = (WINDOW + bytes.below(8)) * PAGE_SIZE + bytes.below(2) * 32 + bytes.below(32);
        let value = if bytes.below(2) == 0 { bytes.below(16) } else { bytes.word() };
        let length = 1 + bytes.below(8) as usize;
        let to = xenolith_core::types::Ipa(at);
        let _ = self.domains[2].on(&self.machine.hv).write_memory(to, &value.to_le_bytes()[..length.min(8)]);
    }

    fn events(&mut self, bytes: &mut Bytes<'_>) {
        let at = Self::at(2);
        let port = bytes.below(24) as u32;
        let (op, size) = match bytes.below(4) {
            0 => (EventOp::BindInterdomain, 0),
            1 => (EventOp::Close, 1),
            _ => (EventOp::Send, 1),
        };
        if size == 0 {
            let bind =
                BindInterdomain { remote_dom: DomId(GUEST), remote_port: Port(port), ..Default::default() };
            self.machine.poke(&self.domains[2], at, &bind);
        } else {
            self.machine.poke(&self.domains[2], at, &PortArgument { port: Port(port) });
        }
        self.call(2, Hypercall::EventChannelOp, [op.number().into(), at, 0, 0, 0]);
    }

    /// `xenolith_op`, by the control domain or by one that may not.
    fn own_call(&mut self, bytes: &mut Bytes<'_>) {
        let at = Self::at(4);
        let who = if bytes.below(4) == 0 { 2 } else { 0 };
        let op = bytes.below(XenolithOp::ALL.len() as u64 + 1);
        let (guest, backend) = (DomId(bytes.below(4) as u16), DomId(bytes.below(4) as u16));
        if op == XenolithOp::AllowDeviceModel.number() || op == XenolithOp::ForbidDeviceModel.number() {
            self.machine.poke(&self.domains[who], at, &DeviceModel { guest, backend, pad: 0 });
        } else {
            let mut slot = DeviceSlot::new_zeroed();
            (slot.guest, slot.backend, slot.number) = (guest, backend, bytes.below(6) as u32);
            (slot.transport, slot.device_id) = (bytes.below(3) as u32, 2);
            slot.interrupt = SlotInterrupt { kind: 1, number: 33, ..SlotInterrupt::default() };
            slot.base = DEVICES + bytes.below(8) * 0x100;
            (slot.size, slot.config_len) = (bytes.below(3) * 0x200, bytes.below(5) as u32 * 512);
            self.machine.poke(&self.domains[who], at, &slot);
        }
        self.call(who, Hypercall::Xenolith, [op, at, 0, 0, 0]);
    }

    /// The guest reads or writes near the devices, or gives a page away.
    fn guest(&mut self, bytes: &mut Bytes<'_>) {
        let Some(cpu) = self.machine.cpu_of(&self.domains[1], 0) else { return };
        let address = DEVICES + bytes.below(128) * 8 + bytes.below(8);
        match bytes.below(3) {
            0 => {
                self.machine.load(cpu, address, 1 << bytes.below(4));
            }
            1 => self.machine.store(cpu, address, 1 << bytes.below(4), bytes.word()),
            _ => {
                let esr = 0x24 << 26 | 1 << 25 | bytes.below(2) << 6 | 7;
                let trap = Event::Trap(Syndrome { esr, far: address, hpfar: address >> 12 << 4 });
                self.machine.event(cpu, trap);
            }
        }
    }
}

/// Plays what the bytes stand for.
///
/// # Panics
/// A call returned what is no error number, the books do not agree, or the guest does not go on once its device model is
/// gone.
pub fn play(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let mut player = Player::new();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        match bytes.below(8) {
            0 | 1 => player.dm_op(&mut bytes),
            2 => player.map(&mut bytes),
            3 => player.scribble(&mut bytes),
            4 => player.events(&mut bytes),
            5 => player.own_call(&mut bytes),
            _ => player.guest(&mut bytes),
        }
        player.machine.settle();
        assert_eq!(player.machine.audit(), Ok(()));
    }
    let Player { mut machine, domains } = player;
    for maker in [&domains[2], &domains[0]] {
        while domains[1].on(&machine.hv).forbid_device_model(maker.id) {}
        let mut from = Some(0);
        while let Some(gfn) = from {
            from = maker.on(&machine.hv).unmap_foreign_of(domains[1].id, gfn);
        }
    }
    machine.settle();
    assert!(machine.cpu_of(&domains[1], 0).is_some(), "the guest does not go on");
    assert_eq!(machine.audit(), Ok(()));
}
