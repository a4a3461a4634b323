//! A permission that is taken back by the control domain's call, with everything that stood on it.

use xenolith_abi::grant::{EntryV1, MapGrantRef, entry, map as flag};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::xenolith::{DeviceModel, Interrupt, Slot, SlotNumber, Transport, XenolithOp};
use zerocopy::FromZeros;

use super::super::super::{Machine, Plan, RAM_BASE};
use super::super::foreign::{HOLE, map_foreign};
use super::super::support::{CONTROL, Guest};
use super::model::*;
use xenolith_abi::Intid;
use xenolith_core::types::{DomId, Gfn};
use xenolith_domain::domain::device_model::PAGES_IN_ONE_GO;

/// Pages of the guest that the device model maps: more than one call takes away.
const PAGES: u64 = PAGES_IN_ONE_GO as u64 + 200;
/// Where it has a page of another guest, between those of this one.
const OTHERS: u64 = HOLE + PAGES_IN_ONE_GO as u64 - 1;
/// Where it has a page that the guest has granted to it.
const GRANTED: u64 = HOLE - 8;

/// The control domain, and a device model with everything that it can have of domain 1.
fn full() -> (Machine, Guest, Model) {
    let mut machine = Machine::new(4, 8192);
    let control = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { id: 1, pages: PAGES, ..CONTROL });
    let driver = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
    let other = Guest::boot(&mut machine, Plan { id: 3, ..CONTROL });
    assert_eq!(other.domain.allow_device_model(&driver.domain), Ok(()));
    let mut slot = Slot::new_zeroed();
    (slot.guest, slot.backend) = (DomId(1), DomId(2));
    (slot.transport, slot.device_id) = (Transport::VirtioMmio.number(), 2);
    slot.interrupt = Interrupt::Line { intid: Intid(33) }.into();
    (slot.base, slot.size) = (DEVICE, DEVICE_SIZE);
    let op = XenolithOp::CreateSlot.number();
    assert_eq!(control.call(&mut machine, Hypercall::Xenolith, op, &mut slot), 0);
    let model = Model::attach(&mut machine, driver, guest);
    let (driver, guest) = (&model.own, &model.guest);
    for first in (0..PAGES).step_by(100) {
        let pages: Vec<_> =
            (first..PAGES.min(first + 100)).map(|page| (RAM_BASE.0 + page, HOLE + page)).collect();
        assert_eq!(map_foreign(&mut machine, driver, 1, &pages), Ok(vec![0; pages.len()]));
    }
    assert_eq!(map_foreign(&mut machine, driver, 3, &[(RAM_BASE.0, OTHERS)]), Ok(vec![0]));
    assert_eq!(driver.domain.on(&machine.hv).map_grant_resource(&guest.domain, 0, Gfn(HOLE - 1)), Ok(()));
    let table = guest.page(&machine, 10);
    guest.domain.on(&machine.hv).map_grant_frame(0, Gfn(table >> 12)).expect("its grant table");
    let frame = (RAM_BASE.0 + 20) as u32;
    machine.poke(&guest.domain, table + 40, &EntryV1 { flags: entry::PERMIT_ACCESS, domid: DomId(2), frame });
    let mut granted = MapGrantRef {
        host_addr: GRANTED << 12,
        flags: flag::HOST,
        reference: 5,
        dom: DomId(1),
        ..MapGrantRef::default()
    };
    assert_eq!((driver.grant_op(&mut machine, 0, &mut granted), granted.status), (0, 0));
    assert_eq!(machine.audit(), Ok(()));
    (machine, control, model)
}

fn assert_nothing_is_left(machine: &mut Machine, model: &Model) {
    let driver = &model.own.domain;
    for gfn in (HOLE - 1..HOLE + PAGES).chain([WINDOW]).filter(|&gfn| gfn != OTHERS) {
        assert!(driver.lookup(Gfn(gfn)).is_err(), "{gfn:#x}");
    }
    assert!(driver.lookup(Gfn(OTHERS)).is_ok(), "of another guest");
    assert!(driver.lookup(Gfn(GRANTED)).is_ok(), "what was granted was given by the guest itself");
    assert!(!model.guest.domain.has_device_model(driver));
    assert_eq!(model.guest.domain.io.held_frames(), 0);
    machine.settle();
    let cpu = machine.cpu_of(&model.guest.domain, 0).expect("it goes on");
    assert_eq!(machine.regs(cpu).x[1], 0xffff_ffff);
    assert_eq!(machine.load(cpu, REGISTER, 4), 0xffff_ffff);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_is_forbidden_leaves_nothing() {
    let (mut machine, control, model) = full();
    machine.load(model.guest.cpu, REGISTER, 4);
    assert!(!model.guest_runs(&machine));
    let mut parties = DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 };
    let op = XenolithOp::ForbidDeviceModel.number();
    assert_eq!(control.call(&mut machine, Hypercall::Xenolith, op, &mut parties), 0);
    assert_nothing_is_left(&mut machine, &model);
}

#[test]
fn the_last_slot_takes_everything_with_it() {
    let (mut machine, control, model) = full();
    machine.load(model.guest.cpu, REGISTER, 4);
    let number = machine.hv.slots.lock().next(0, None).expect("the slot").number;
    let op = XenolithOp::DestroySlot.number();
    let mut slot = SlotNumber { number, pad: 0 };
    assert_eq!(control.call(&mut machine, Hypercall::Xenolith, op, &mut slot), 0);
    assert!(machine.hv.slots.lock().next(0, None).is_none());
    assert_nothing_is_left(&mut machine, &model);
}
