//! What is refused to a device model, and by which code: those of Xen on Arm, as docs/abi.md has them.

use xenolith_abi::dm::{
    Buffer, CreateServer, DestroyServer, DmOp, Header, INFO_NO_GFNS, NrVcpus, Range, ServerInfo, SetIrqLevel,
    SetServerState,
};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, MemoryOp, Resource};
use xenolith_abi::{DomId, Errno, GuestPtr, Intid};
use zerocopy::{Immutable, IntoBytes};

use super::super::super::{Machine, Plan};
use super::super::support::{CONTROL, Guest, SELF, error};
use super::model::*;
use xenolith_policy::ioreq::SERVERS;

/// A call with one buffer: its operation, the header's padding, and what stands behind that. The buffer's size is what it
/// takes, less so many bytes.
struct Call {
    op: u32,
    pad: u32,
    content: Vec<u8>,
    missing: u64,
}

fn call(op: DmOp, argument: impl IntoBytes + Immutable) -> Call {
    Call { op: op.number(), pad: 0, content: argument.as_bytes().to_vec(), missing: 0 }
}

impl Call {
    fn make(&self, machine: &mut Machine, caller: &Guest, guest: u16) -> i64 {
        let array = caller.scratch(machine);
        let at = array + 256;
        let size = (size_of::<Header>() + self.content.len()) as u64 - self.missing;
        machine.poke(&caller.domain, array, &Buffer { address: at.into(), size });
        machine.poke(&caller.domain, at, &Header { op: self.op, pad: self.pad });
        machine.poke(&caller.domain, at + 8, self.content.as_slice());
        let result = machine.hypercall(caller.cpu, Hypercall::DmOp.number(), [guest.into(), 1, array, 0, 0]);
        result.expect("the call returns at once")
    }
}

/// Every operation, with an argument that is right for this server.
fn all(id: u16) -> Vec<Call> {
    let range = Range { id, kind: 1, start: 0x300_0000, end: 0x300_0fff, ..Range::default() };
    vec![
        call(DmOp::CreateServer, CreateServer::default()),
        call(DmOp::ServerInfo, ServerInfo { id, flags: INFO_NO_GFNS, ..ServerInfo::default() }),
        call(DmOp::MapRange, range),
        call(DmOp::UnmapRange, range),
        call(DmOp::SetServerState, SetServerState { id, enabled: 1, pad: 0 }),
        call(DmOp::DestroyServer, DestroyServer { id, pad: 0 }),
        call(DmOp::SetIrqLevel, SetIrqLevel { irq: Intid(33), level: 1, pad: [0; 3] }),
        call(DmOp::NrVcpus, NrVcpus::default()),
    ]
}

/// Those that name a server.
fn of_a_server(id: u16) -> Vec<Call> {
    let names = |call: &Call| {
        let op = DmOp::from_number(call.op);
        !matches!(op, Some(DmOp::CreateServer | DmOp::SetIrqLevel | DmOp::NrVcpus))
    };
    all(id).into_iter().filter(names).collect()
}

#[test]
fn each_field_is_looked_at() {
    let (mut machine, model) = Model::new();
    let (id, guest) = (model.server, model.guest.domain.id.0);
    let range = Range { id, kind: 1, start: 0x300_0000, end: 0x300_0fff, ..Range::default() };
    let info = ServerInfo { id, flags: INFO_NO_GFNS, ..ServerInfo::default() };
    let rows = [
        ("a buffered server", call(DmOp::CreateServer, [1_u8, 0, 0, 0, 0, 0]), Errno::EINVAL),
        ("one with its own page", call(DmOp::CreateServer, [2_u8, 0, 0, 0, 0, 0]), Errno::EINVAL),
        ("padding", call(DmOp::CreateServer, [0_u8, 0, 0, 1, 0, 0]), Errno::EINVAL),
        ("frames", call(DmOp::ServerInfo, ServerInfo { flags: 0, ..info }), Errno::EOPNOTSUPP),
        ("unknown flags", call(DmOp::ServerInfo, ServerInfo { flags: 3, ..info }), Errno::EINVAL),
        ("ports", call(DmOp::MapRange, Range { kind: 0, ..range }), Errno::EINVAL),
        ("PCI functions", call(DmOp::MapRange, Range { kind: 2, ..range }), Errno::EINVAL),
        ("no kind", call(DmOp::MapRange, Range { kind: 3, ..range }), Errno::EINVAL),
        ("padding", call(DmOp::MapRange, Range { pad: 1, ..range }), Errno::EINVAL),
        ("backwards", call(DmOp::MapRange, Range { end: range.start - 1, ..range }), Errno::EINVAL),
        ("in part its own", call(DmOp::MapRange, Range { start: REGISTER, ..range }), Errno::EEXIST),
        ("ports", call(DmOp::UnmapRange, Range { kind: 0, ..range }), Errno::EINVAL),
        ("PCI functions", call(DmOp::UnmapRange, Range { kind: 2, ..range }), Errno::EINVAL),
        ("padding", call(DmOp::UnmapRange, Range { pad: 1, ..range }), Errno::EINVAL),
        ("not its own", call(DmOp::UnmapRange, range), Errno::ENOENT),
        ("padding", call(DmOp::SetServerState, SetServerState { id, enabled: 1, pad: 1 }), Errno::EINVAL),
        ("padding", call(DmOp::DestroyServer, DestroyServer { id, pad: 1 }), Errno::EINVAL),
    ];
    for (name, call, expected) in rows {
        assert_eq!(call.make(&mut machine, &model.own, guest), error(expected), "{}: {name}", call.op);
    }
    // All of that has changed nothing.
    machine.load(model.guest.cpu, REGISTER, 4);
    model.answer(&mut machine, 0, 4);
    assert!(model.guest_runs(&machine));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_frame_of_a_call_is_looked_at() {
    let (mut machine, model) = Model::new();
    let guest = model.guest.domain.id.0;
    for good in all(model.server) {
        let mut short = Call { missing: 1, ..good };
        let op = short.op;
        assert_eq!(short.make(&mut machine, &model.own, guest), error(Errno::EFAULT), "{op}");
        short.pad = 1;
        assert_eq!(short.make(&mut machine, &model.own, guest), error(Errno::EFAULT), "{op}");
        let padded = Call { missing: 0, ..short };
        assert_eq!(padded.make(&mut machine, &model.own, guest), error(Errno::EINVAL), "{op}");
        let no_header = Call { content: Vec::new(), ..padded };
        assert_eq!(
            Call { missing: 1, ..no_header }.make(&mut machine, &model.own, guest),
            error(Errno::EFAULT)
        );
    }
    // Those of other machines among them.
    for op in (0..=40).chain([u32::MAX]).filter(|&op| DmOp::from_number(op).is_none()) {
        for pad in [0, 1] {
            let unknown = Call { op, pad, content: vec![0; 24], missing: 0 };
            assert_eq!(unknown.make(&mut machine, &model.own, guest), error(Errno::EOPNOTSUPP), "{op}");
        }
    }
    let at = model.own.scratch(&machine);
    let mut plain =
        |buffers, array| model.own.plain(&mut machine, Hypercall::DmOp, [guest.into(), buffers, array, 0, 0]);
    assert_eq!(plain(0, at), error(Errno::ENODATA));
    assert_eq!((plain(3, at), plain(u64::MAX, at)), (error(Errno::E2BIG), error(Errno::E2BIG)));
    assert_eq!(plain(1, 0xdead_0000_0000), error(Errno::EFAULT), "an array that is nowhere");
    let nowhere = Buffer { address: GuestPtr::new(0xdead_0000_0000), size: 32 };
    machine.poke(&model.own.domain, at, &nowhere);
    let arguments = [guest.into(), 1, at, 0, 0];
    assert_eq!(model.own.plain(&mut machine, Hypercall::DmOp, arguments), error(Errno::EFAULT));
}

#[test]
fn a_server_is_its_maker_s_and_a_number_that_is_nobody_s_is_not_found() {
    let mut machine = Machine::new(3, 2048);
    let control = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { id: 1, ..CONTROL });
    let driver = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
    let model = Model::attach(&mut machine, driver, guest);
    let machine = &mut machine;
    for call in of_a_server(model.server) {
        assert_eq!(call.make(machine, &control, 1), error(Errno::EPERM), "{}", call.op);
    }
    for nobody in [model.server + 1, SERVERS as u16, u16::MAX] {
        for call in of_a_server(nobody) {
            assert_eq!(call.make(machine, &model.own, 1), error(Errno::ENOENT), "{} {nobody}", call.op);
        }
    }
    // Its pages.
    let (server, hole) = (u32::from(model.server), WINDOW + 64);
    let rows = [
        (&model.own, server, 0, Errno::ENOENT),
        (&model.own, server, 2, Errno::EINVAL),
        (&model.own, server, u64::MAX, Errno::EINVAL),
        (&model.own, server + 1, SLOTS_FRAME, Errno::ENOENT),
        (&model.own, SERVERS as u32, SLOTS_FRAME, Errno::ENOENT),
        (&model.own, 1 << 16 | server, SLOTS_FRAME, Errno::EINVAL),
        (&control, server, SLOTS_FRAME, Errno::EPERM),
        (&control, server, 0, Errno::EPERM),
        (&control, server + 1, SLOTS_FRAME, Errno::ENOENT),
    ];
    for (caller, id, frame, expected) in rows {
        let result = acquire(machine, caller, 1, id, frame, hole);
        assert_eq!(result, error(expected), "d{} {id:#x} {frame}", caller.domain.id.0);
        assert!(caller.domain.lookup(xenolith_core::types::Gfn(hole)).is_err());
    }
    assert_eq!(acquire(machine, &model.guest, 1, server, SLOTS_FRAME, hole), error(Errno::EPERM));
    assert_eq!(acquire(machine, &model.own, SELF.0, server, SLOTS_FRAME, hole), error(Errno::EPERM));
    assert_eq!(acquire(machine, &model.own, 0, server, SLOTS_FRAME, hole), error(Errno::EPERM));
    // How many there are.
    let kind = Resource::IoreqServer.number();
    let mut size = AcquireResource {
        domid: DomId(1),
        kind,
        id: server,
        nr_frames: 0,
        pad: 0,
        frame: 0,
        frame_list: GuestPtr::NULL,
    };
    let op = MemoryOp::AcquireResource.number().into();
    assert_eq!(model.own.call(machine, Hypercall::MemoryOp, op, &mut size), 0);
    assert_eq!(size.nr_frames, 2);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn there_is_an_end_to_servers_and_ranges() {
    let (mut machine, model) = Model::new();
    let guest = model.guest.domain.id.0;
    let create = call(DmOp::CreateServer, CreateServer::default());
    for _ in 1..SERVERS {
        assert_eq!(create.make(&mut machine, &model.own, guest), 0);
    }
    assert_eq!(create.make(&mut machine, &model.own, guest), error(Errno::ENOSPC));
    let one = |number: u64| {
        let start = 0x1000_0000 + number * 16;
        let range = Range { id: model.server, kind: 1, start, end: start + 7, ..Range::default() };
        call(DmOp::MapRange, range)
    };
    for number in 1..xenolith_policy::ioreq::RANGES_PER_SERVER as u64 {
        assert_eq!(one(number).make(&mut machine, &model.own, guest), 0, "{number}");
    }
    let last = xenolith_policy::ioreq::RANGES_PER_SERVER as u64;
    assert_eq!(one(last).make(&mut machine, &model.own, guest), error(Errno::ENOMEM));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_number_of_vcpus_is_the_guest_s() {
    for vcpus in [1, 2, 7] {
        let mut machine = Machine::new(2, 2048);
        let control = Guest::boot(&mut machine, CONTROL);
        Guest::boot(&mut machine, Plan { id: 1, vcpus, ..CONTROL });
        let mut told = NrVcpus { vcpus: 99 };
        assert_eq!(dm_op(&mut machine, &control, 1, DmOp::NrVcpus, &mut told), 0);
        assert_eq!(told.vcpus, u32::from(vcpus));
    }
}
