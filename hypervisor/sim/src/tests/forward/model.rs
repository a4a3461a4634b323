//! A domain that emulates a device of another one, as its program would act.

use xenolith_abi::Port;
use xenolith_abi::dm::{Buffer, CreateServer, DmOp, Header, NrVcpus, Range, SetServerState};
use xenolith_abi::event::{BindInterdomain, EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::{STATE_MASK, Slot, State};
use xenolith_abi::memory::{AcquireResource, MemoryOp, RemoveFromPhysmap, Resource};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::super::Machine;
use super::super::support::{Guest, SELF};
use xenolith_core::types::{DomId, Gfn, PAGE_SIZE};
use xenolith_cpu::Event;
use xenolith_isa::trap::Syndrome;

/// Where the device is.
pub const DEVICE: u64 = 0x0200_0000;
pub const DEVICE_SIZE: u64 = 0x200;
/// A register of it.
pub const REGISTER: u64 = DEVICE + 0x10;
/// Where the device model has its server's page, by the server's number: frames of its own where nothing else is.
pub const WINDOW: u64 = 0x9_8000;
/// The frame of a server's pages that has the slots.
pub const SLOTS_FRAME: u64 = 1;

/// The domain that emulates the device, as its program would act.
pub struct Model {
    pub own: Guest,
    pub guest: Guest,
    pub server: u16,
    /// Its end of each vCPU's channel.
    pub ports: Vec<u32>,
}

/// Asks for a page of one of the guest's servers, to be mapped at `gfn`.
pub fn acquire(machine: &mut Machine, caller: &Guest, guest: u16, server: u32, frame: u64, gfn: u64) -> i64 {
    let frame_list = caller.page(machine, 2);
    machine.poke(&caller.domain, frame_list, &gfn);
    let kind = Resource::IoreqServer.number();
    let mut request = AcquireResource {
        domid: DomId(guest),
        kind,
        id: server,
        nr_frames: 1,
        pad: 0,
        frame,
        frame_list: frame_list.into(),
    };
    let op = MemoryOp::AcquireResource.number().into();
    caller.call(machine, Hypercall::MemoryOp, op, &mut request)
}

/// A call with one buffer, whose structure comes back.
pub fn dm_op<T: FromBytes + IntoBytes + Immutable>(
    machine: &mut Machine,
    caller: &Guest,
    guest: u16,
    op: DmOp,
    argument: &mut T,
) -> i64 {
    let array = caller.scratch(machine);
    let at = array + 256;
    let size = size_of::<Header>() as u64;
    let buffer = Buffer { address: at.into(), size: size + size_of::<T>() as u64 };
    machine.poke(&caller.domain, array, &buffer);
    machine.poke(&caller.domain, at, &Header { op: op.number(), pad: 0 });
    machine.poke(&caller.domain, at + size, argument);
    let arguments = [guest.into(), 1, array, 0, 0];
    let result = machine.hypercall(caller.cpu, Hypercall::DmOp.number(), arguments);
    *argument = machine.peek(&caller.domain, at + size);
    result.expect("the call returns at once")
}

/// The guest's instruction at the program counter faults at `address`, and the syndrome does not describe it.
pub fn undescribed(machine: &mut Machine, cpu: u16, address: u64, write: bool) {
    const CLASS_DATA_ABORT: u64 = 0x24 << 26;
    const TRANSLATION_LEVEL_3: u64 = 7;
    let esr = CLASS_DATA_ABORT | 1 << 25 | u64::from(write) << 6 | TRANSLATION_LEVEL_3;
    machine.event(cpu, Event::Trap(Syndrome { esr, far: address, hpfar: address >> 12 << 4 }));
}

/// Puts an instruction where the guest's program counter then points.
pub fn place_instruction(machine: &mut Machine, guest: &Guest, word: u32) -> u64 {
    let at = guest.page(machine, 9);
    machine.poke(&guest.domain, at, &word);
    machine.regs(guest.cpu).pc = at;
    at
}

impl Model {
    /// A machine with two CPUs: the control domain is the device model of the other domain.
    pub fn new() -> (Machine, Model) {
        let (mut machine, own, guest) = Guest::two();
        let model = Model::attach(&mut machine, own, guest);
        (machine, model)
    }

    /// The device at [`DEVICE`].
    pub fn attach(machine: &mut Machine, own: Guest, guest: Guest) -> Model {
        Self::attach_at(machine, own, guest, DEVICE)
    }

    pub fn attach_at(machine: &mut Machine, own: Guest, guest: Guest, device: u64) -> Model {
        let id = guest.domain.id.0;
        let mut vcpus = NrVcpus::default();
        assert_eq!(dm_op(machine, &own, id, DmOp::NrVcpus, &mut vcpus), 0);
        assert_eq!(vcpus.vcpus as usize, guest.domain.vcpus.len());
        let mut made = CreateServer::default();
        assert_eq!(dm_op(machine, &own, id, DmOp::CreateServer, &mut made), 0);
        let window = WINDOW + u64::from(made.id);
        assert_eq!(acquire(machine, &own, id, made.id.into(), SLOTS_FRAME, window), 0);
        let mut enable = SetServerState { id: made.id, enabled: 1, pad: 0 };
        assert_eq!(dm_op(machine, &own, id, DmOp::SetServerState, &mut enable), 0);
        let mut model = Model { own, guest, server: made.id, ports: Vec::new() };
        for vcpu in 0..vcpus.vcpus {
            let remote_port = model.slot(machine, vcpu).vp_eport;
            let mut bind = BindInterdomain {
                remote_dom: DomId(id),
                remote_port: Port(remote_port),
                ..Default::default()
            };
            let op = EventOp::BindInterdomain.number().into();
            assert_eq!(model.own.call(machine, Hypercall::EventChannelOp, op, &mut bind), 0);
            model.ports.push(bind.local_port.0);
        }
        assert_eq!(model.range(machine, DmOp::MapRange, device, device + DEVICE_SIZE - 1), 0);
        model
    }

    pub fn range(&self, machine: &mut Machine, op: DmOp, start: u64, end: u64) -> i64 {
        let mut range = Range { id: self.server, kind: 1, start, end, ..Default::default() };
        dm_op(machine, &self.own, self.guest.domain.id.0, op, &mut range)
    }

    /// Where a vCPU's slot is for the device model.
    fn slot_at(&self, vcpu: u32) -> u64 {
        (WINDOW + u64::from(self.server)) * PAGE_SIZE + u64::from(vcpu) * size_of::<Slot>() as u64
    }

    pub fn slot(&self, machine: &Machine, vcpu: u32) -> Slot {
        machine.peek(&self.own.domain, self.slot_at(vcpu))
    }

    pub fn write_slot(&self, machine: &Machine, vcpu: u32, slot: &Slot) {
        machine.poke(&self.own.domain, self.slot_at(vcpu), slot);
    }

    pub fn state(&self, machine: &Machine, vcpu: u32) -> Option<State> {
        State::from_number(self.slot(machine, vcpu).flags & STATE_MASK)
    }

    pub fn notify(&self, machine: &mut Machine, vcpu: u32) {
        let mut send = PortArgument { port: Port(self.ports[vcpu as usize]) };
        let op = EventOp::Send.number().into();
        assert_eq!(self.own.call(machine, Hypercall::EventChannelOp, op, &mut send), 0);
        machine.settle();
    }

    /// Answers what is asked for a vCPU.
    pub fn answer(&self, machine: &mut Machine, vcpu: u32, data: u64) {
        let mut slot = self.slot(machine, vcpu);
        assert_eq!(self.state(machine, vcpu), Some(State::Ready));
        slot.data = data;
        slot.flags = slot.flags & !STATE_MASK | State::ResponseReady.number();
        self.write_slot(machine, vcpu, &slot);
        self.notify(machine, vcpu);
    }

    /// Whether the guest's vCPU 0 is on a CPU.
    pub fn guest_runs(&self, machine: &Machine) -> bool {
        machine.cpu_of(&self.guest.domain, 0).is_some()
    }

    /// Lets go of the page with the slots.
    pub fn let_go(&self, machine: &mut Machine) {
        let gpfn = WINDOW + u64::from(self.server);
        let mut request = RemoveFromPhysmap { domid: SELF, gpfn: Gfn(gpfn), ..Default::default() };
        let op = MemoryOp::RemoveFromPhysmap.number().into();
        assert_eq!(self.own.call(machine, Hypercall::MemoryOp, op, &mut request), 0);
    }
}
