//! Pages that leave a guest's memory: every device model drops what it has mapped of it before the vCPU goes on, whichever
//! call it was.

use xenolith_abi::dm::{DmOp, SetServerState};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::{READ, State, stale_class};
use xenolith_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, MapSpace, MemoryOp, RemoveFromPhysmap, Reservation,
};
use xenolith_abi::multicall::MulticallEntry;
use xenolith_abi::{DomId, Errno, Gfn};
use zerocopy::IntoBytes;

use super::super::super::{Machine, Plan, RAM_BASE};
use super::super::support::{CONTROL, Guest, SELF, error};
use super::model::*;

/// A page of the guest's RAM, and one where it has nothing.
const PAGE: u64 = RAM_BASE.0 + 20;
const HOLE: u64 = 0x9_0000;

/// A guest with two device models, one in the control domain and one in a driver domain.
fn with_two() -> (Machine, [Model; 2]) {
    let mut machine = Machine::new(3, 2048);
    let control = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { id: 1, ..CONTROL });
    let driver = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
    let first = Model::attach(&mut machine, control, guest.clone());
    let second = Model::attach_at(&mut machine, driver, guest, DEVICE + DEVICE_SIZE);
    (machine, [first, second])
}

/// A call of `memory_op` by the guest.
struct Row {
    name: &'static str,
    op: MemoryOp,
    argument: Vec<u8>,
    result: i64,
    /// Whether a page of RAM goes from where it was.
    leaves: bool,
}

fn rows(list: u64) -> Vec<Row> {
    let row = |name, op, argument: &[u8], result, leaves| Row {
        name,
        op,
        argument: argument.to_vec(),
        result,
        leaves,
    };
    let reservation =
        Reservation { extent_start: list.into(), nr_extents: 1, domid: SELF, ..Reservation::default() };
    let add = |space: MapSpace, gpfn| AddToPhysmap {
        domid: SELF,
        space: space.number(),
        gpfn,
        ..Default::default()
    };
    let batch = AddToPhysmapBatch {
        domid: SELF,
        space: MapSpace::GrantTable.number() as u16,
        size: 1,
        foreign_domid: DomId(0),
        idxs: (list + 8).into(),
        gpfns: list.into(),
        errs: (list + 16).into(),
    };
    let remove = |gpfn| RemoveFromPhysmap { domid: SELF, gpfn, ..Default::default() };
    vec![
        row("decrease_reservation", MemoryOp::DecreaseReservation, reservation.as_bytes(), 1, true),
        row(
            "shared info over RAM",
            MemoryOp::AddToPhysmap,
            add(MapSpace::SharedInfo, Gfn(PAGE)).as_bytes(),
            0,
            true,
        ),
        row(
            "grant table over RAM",
            MemoryOp::AddToPhysmap,
            add(MapSpace::GrantTable, Gfn(PAGE)).as_bytes(),
            0,
            true,
        ),
        row("a batch over RAM", MemoryOp::AddToPhysmapBatch, batch.as_bytes(), 0, true),
        row("remove_from_physmap", MemoryOp::RemoveFromPhysmap, remove(Gfn(PAGE)).as_bytes(), 0, true),
        row(
            "shared info over nothing",
            MemoryOp::AddToPhysmap,
            add(MapSpace::SharedInfo, Gfn(HOLE)).as_bytes(),
            0,
            false,
        ),
        row(
            "grant table over nothing",
            MemoryOp::AddToPhysmap,
            add(MapSpace::GrantTable, Gfn(HOLE)).as_bytes(),
            0,
            false,
        ),
        row(
            "nothing removed",
            MemoryOp::RemoveFromPhysmap,
            remove(Gfn(HOLE)).as_bytes(),
            error(Errno::ENOENT),
            false,
        ),
        row("populate_physmap", MemoryOp::PopulatePhysmap, reservation.as_bytes(), 0, false),
    ]
}

/// Both device models have been asked, and the vCPU waits for both, whichever is first.
fn answer_both(machine: &mut Machine, models: [&Model; 2], name: &str) {
    for model in models {
        let slot = model.slot(machine, 0);
        assert_eq!((slot.kind, slot.size, slot.flags & READ), (8, 4, 0), "{name}");
        assert_eq!((slot.addr, slot.count, slot.data), (PAGE << 12, 1, stale_class(PAGE << 12)), "{name}");
        assert_eq!(model.state(machine, 0), Some(State::Ready), "{name}");
        assert!(!model.guest_runs(machine), "{name}");
        // An event alone is no answer.
        model.notify(machine, 0);
        assert!(!model.guest_runs(machine), "{name}");
        model.answer(machine, 0, 0);
    }
    assert!(models[0].guest_runs(machine), "{name}");
}

#[test]
fn whatever_takes_a_page_away_is_announced_to_all() {
    let (machine, models) = with_two();
    let guest = &models[0].guest;
    let count = rows(guest.page(&machine, 2)).len();
    for (index, in_a_list) in (0..count).flat_map(|index| [(index, false), (index, true)]) {
        let (mut machine, [first, second]) = with_two();
        let guest = first.guest.clone();
        let list = guest.page(&machine, 2);
        let row = rows(list).swap_remove(index);
        let name = format!("{} in a list: {in_a_list}", row.name);
        machine.poke(&guest.domain, list, &[PAGE, 0, 77]);
        let at = guest.scratch(&machine);
        machine.poke(&guest.domain, at, row.argument.as_slice());
        let arguments = [row.op.number().into(), at, 0, 0, 0, 0];
        let calls = guest.page(&machine, 3);
        let version = MulticallEntry { op: Hypercall::XenVersion.number(), ..Default::default() };
        let entry = MulticallEntry { op: Hypercall::MemoryOp.number(), args: arguments, result: 0x1111 };
        machine.poke(&guest.domain, calls, &[version, entry, version]);
        let (call, arguments) = if in_a_list {
            (Hypercall::Multicall, [calls, 3, 0, 0, 0])
        } else {
            (Hypercall::MemoryOp, [arguments[0], at, 0, 0, 0])
        };
        let result = machine.hypercall(guest.cpu, call.number(), arguments);
        assert_eq!(result.is_none(), row.leaves, "{name}");
        if row.leaves {
            let models = if index % 2 == 0 { [&first, &second] } else { [&second, &first] };
            answer_both(&mut machine, models, &name);
        } else {
            assert!([&first, &second].iter().all(|model| model.state(&machine, 0) == Some(State::None)));
        }
        let mut result = machine.regs(guest.cpu).x[0] as i64;
        if in_a_list {
            assert_eq!(result, 0, "{name}");
            let entries: [MulticallEntry; 3] = machine.peek(&guest.domain, calls);
            assert_eq!(entries[2].result, entries[0].result, "{name}");
            result = entries[1].result as i64;
        }
        assert_eq!(result, row.result, "{name}");
        assert_eq!(machine.audit(), Ok(()), "{name}");
        // It was announced once.
        let version = machine.hypercall(guest.cpu, Hypercall::XenVersion.number(), [0; 5]);
        assert_eq!(version, Some(0x4_0011), "{name}");
    }
}

#[test]
fn a_server_that_takes_no_part_is_not_waited_for() {
    let (mut machine, [first, second]) = with_two();
    let guest = first.guest.clone();
    let mut off = SetServerState { id: first.server, enabled: 0, pad: 0 };
    assert_eq!(dm_op(&mut machine, &first.own, 1, DmOp::SetServerState, &mut off), 0);
    let at = guest.scratch(&machine);
    let request = RemoveFromPhysmap { domid: SELF, gpfn: Gfn(PAGE), ..Default::default() };
    machine.poke(&guest.domain, at, &request);
    let arguments = [MemoryOp::RemoveFromPhysmap.number().into(), at, 0, 0, 0];
    assert_eq!(machine.hypercall(guest.cpu, Hypercall::MemoryOp.number(), arguments), None);
    assert_eq!(first.state(&machine, 0), Some(State::None));
    second.answer(&mut machine, 0, 0);
    assert!(second.guest_runs(&machine));
}
