//! Who may be a guest's device model: who gives that, what it comes with and goes with, and what is left when it has gone.

use std::sync::atomic::{AtomicBool, Ordering};

use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{MemoryDomain, MemoryOp};
use xenolith_abi::xenolith::{
    CONFIG_SIZE, DeviceModel, Interrupt, Slot, SlotNumber, SlotReport, SlotState, Transport, XenolithOp,
};
use xenolith_abi::{Errno, Intid};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::super::*;
use super::foreign::{HOLE, map_foreign};
use super::support::*;
use xenolith_domain::parts::device_models::DEVICE_MODELS;
use xenolith_domain::parts::progress::Progress;
use xenolith_memory::p2m::MapKind;
use xenolith_policy::slots::SLOTS_PER_GUEST;

/// The control domain, a guest and a driver domain, a CPU for each.
fn three() -> (Machine, [Guest; 3]) {
    let mut machine = Machine::new(3, 4096);
    let guests = [0, 1, 2].map(|id| Guest::boot(&mut machine, Plan { id, ..CONTROL }));
    (machine, guests)
}

/// A device of domain 1, at the place of this number, that domain 2 serves.
fn slot(place: u64) -> Slot {
    let mut slot = Slot::new_zeroed();
    (slot.guest, slot.backend) = (DomId(1), DomId(2));
    (slot.transport, slot.device_id) = (Transport::VirtioMmio.number(), 2);
    slot.interrupt = Interrupt::Line { intid: Intid(33) }.into();
    (slot.base, slot.size) = (0x0200_0000 + place * 0x200, 0x200);
    slot
}

fn ask<T: FromBytes + IntoBytes + Immutable>(
    machine: &mut Machine,
    caller: &Guest,
    op: XenolithOp,
    argument: &mut T,
) -> i64 {
    caller.call(machine, Hypercall::Xenolith, op.number(), argument)
}

/// Makes a slot; its number.
fn made(machine: &mut Machine, control: &Guest, mut slot: Slot) -> u32 {
    assert_eq!(ask(machine, control, XenolithOp::CreateSlot, &mut slot), 0);
    slot.number
}

fn unmade(machine: &mut Machine, control: &Guest, number: u32) -> i64 {
    ask(machine, control, XenolithOp::DestroySlot, &mut SlotNumber { number, pad: 0 })
}

#[test]
fn a_slot_that_is_refused_allows_nothing() {
    let (mut machine, [control, guest, driver]) = three();
    let machine = &mut machine;
    made(machine, &control, Slot { backend: DomId(0), ..slot(0) });
    let rows = [
        (Slot { transport: 99, ..slot(1) }, Errno::EINVAL),
        (Slot { transport: Transport::VirtioPci.number(), ..slot(1) }, Errno::EOPNOTSUPP),
        (
            Slot { interrupt: Interrupt::Message { device: 1, events: 1 }.into(), ..slot(1) },
            Errno::EOPNOTSUPP,
        ),
        (Slot { size: 0, ..slot(1) }, Errno::EINVAL),
        (Slot { base: u64::MAX, ..slot(1) }, Errno::EINVAL),
        (Slot { config_len: CONFIG_SIZE as u32 + 1, ..slot(1) }, Errno::EINVAL),
        (Slot { backend: DomId(1), ..slot(1) }, Errno::EINVAL),
        (slot(0), Errno::EEXIST),
        (Slot { guest: DomId(9), ..slot(1) }, Errno::ESRCH),
        (Slot { backend: DomId(9), ..slot(1) }, Errno::ESRCH),
    ];
    for (mut wanted, expected) in rows {
        let result = ask(machine, &control, XenolithOp::CreateSlot, &mut wanted);
        assert_eq!(result, error(expected), "{wanted:?}");
        assert!(guest.domain.device_models.lock().is_empty(), "{wanted:?}");
    }
    for place in 1..SLOTS_PER_GUEST as u64 {
        made(machine, &control, Slot { backend: DomId(0), ..slot(place) });
    }
    let one_more = &mut slot(SLOTS_PER_GUEST as u64);
    assert_eq!(ask(machine, &control, XenolithOp::CreateSlot, one_more), error(Errno::ENOSPC));
    assert!(!guest.domain.has_device_model(&driver.domain));
}

#[test]
fn a_slot_whose_backend_cannot_be_allowed_is_not_made() {
    let (mut machine, [control, guest, driver]) = three();
    for id in 3..3 + DEVICE_MODELS as u16 {
        let other = machine.add(Plan { id, pages: 1, ..CONTROL });
        assert_eq!(guest.domain.allow_device_model(&other), Ok(()));
    }
    let result = ask(&mut machine, &control, XenolithOp::CreateSlot, &mut slot(0));
    assert_eq!(result, error(Errno::ENOSPC));
    assert!(machine.hv.slots.lock().next(0, None).is_none());
    assert!(!guest.domain.has_device_model(&driver.domain));
    // Nor is one whose number could not be told.
    while guest.domain.on(&machine.hv).forbid_device_model(DomId(3)) {}
    let at = control.page(&machine, 20);
    machine.poke(&control.domain, at, &slot(0));
    {
        let mut memory = control.domain.memory.lock();
        let (gfn, mfn) = (Gfn(at >> 12), memory.p2m.lookup(Gfn(at >> 12)).unwrap().mfn);
        let _ = memory.p2m.unmap(gfn, 1).unwrap();
        memory.p2m.map(gfn, mfn, 1, MapKind::RamReadOnly).unwrap();
    }
    let arguments = [XenolithOp::CreateSlot.number(), at, 0, 0, 0];
    assert_eq!(control.plain(&mut machine, Hypercall::Xenolith, arguments), error(Errno::EFAULT));
    assert!(machine.hv.slots.lock().next(0, None).is_none());
    assert!(!guest.domain.has_device_model(&driver.domain));
}

#[test]
fn the_permission_goes_with_the_last_slot_unless_it_was_given_for_itself() {
    let (mut machine, [control, guest, driver]) = three();
    let machine = &mut machine;
    let page = guest.page(machine, 20) >> 12;
    let mut both = DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 };
    for allowed_before in [None, Some(true), Some(false)] {
        if allowed_before == Some(true) {
            assert_eq!(ask(machine, &control, XenolithOp::AllowDeviceModel, &mut both), 0);
        }
        let numbers = [0, 1].map(|place| made(machine, &control, slot(place)));
        if allowed_before == Some(false) {
            assert_eq!(ask(machine, &control, XenolithOp::AllowDeviceModel, &mut both), 0);
        }
        assert_eq!(map_foreign(machine, &driver, 1, &[(page, HOLE)]), Ok(vec![0]));
        assert_eq!(unmade(machine, &control, numbers[0]), 0);
        assert!(guest.domain.has_device_model(&driver.domain), "by the second slot");
        assert!(driver.domain.lookup(Gfn(HOLE)).is_ok());
        assert_eq!(unmade(machine, &control, numbers[1]), 0);
        let stays = allowed_before.is_some();
        assert_eq!(guest.domain.has_device_model(&driver.domain), stays, "{allowed_before:?}");
        assert_eq!(driver.domain.lookup(Gfn(HOLE)).is_ok(), stays, "{allowed_before:?}");
        assert_eq!(unmade(machine, &control, numbers[1]), error(Errno::ENOENT));
        assert_eq!(ask(machine, &control, XenolithOp::ForbidDeviceModel, &mut both), 0);
        assert!(!guest.domain.has_device_model(&driver.domain));
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn a_slot_from_before_it_was_forbidden_carries_nothing() {
    let (mut machine, [control, guest, driver]) = three();
    let machine = &mut machine;
    let before = made(machine, &control, slot(0));
    let mut both = DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 };
    assert_eq!(ask(machine, &control, XenolithOp::ForbidDeviceModel, &mut both), 0);
    let after = made(machine, &control, slot(1));
    assert_eq!(unmade(machine, &control, before), 0);
    assert!(guest.domain.has_device_model(&driver.domain));
    assert_eq!(unmade(machine, &control, after), 0);
    assert!(!guest.domain.has_device_model(&driver.domain));
}

#[test]
fn the_control_domain_needs_no_permission_and_loses_none_with_its_slots() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let number = made(machine, &first, Slot { backend: DomId(0), ..slot(0) });
    let page = second.page(machine, 20) >> 12;
    assert_eq!(map_foreign(machine, &first, 1, &[(page, HOLE)]), Ok(vec![0]));
    assert_eq!(unmade(machine, &first, number), 0);
    assert!(second.domain.has_device_model(&first.domain) && first.domain.lookup(Gfn(HOLE)).is_ok());
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn only_the_control_domain_gives_and_takes() {
    let (mut machine, [control, guest, driver]) = three();
    let machine = &mut machine;
    let number = made(machine, &control, slot(0));
    let eperm = error(Errno::EPERM);
    let mut changed = [
        DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 },
        DeviceModel { guest: DomId(2), backend: DomId(1), pad: 0 },
    ];
    for caller in [&guest, &driver] {
        for wanted in [
            slot(1),
            Slot { guest: DomId(2), backend: DomId(1), ..slot(1) },
            Slot { guest: DomId(0), ..slot(1) },
        ] {
            assert_eq!(ask(machine, caller, XenolithOp::CreateSlot, &mut { wanted }), eperm);
        }
        assert_eq!(unmade(machine, caller, number), eperm);
        assert_eq!(unmade(machine, caller, number + 1), eperm, "nor does it learn what there is");
        for parties in &mut changed {
            assert_eq!(ask(machine, caller, XenolithOp::AllowDeviceModel, parties), eperm);
            assert_eq!(ask(machine, caller, XenolithOp::ForbidDeviceModel, parties), eperm);
        }
    }
    assert!(guest.domain.has_device_model(&driver.domain) && !driver.domain.has_device_model(&guest.domain));
    let slots = machine.hv.slots.lock();
    assert_eq!(slots.next(0, None).map(|slot| slot.number), Some(number));
    assert!(slots.next(number + 1, None).is_none());
}

#[test]
fn a_device_model_learns_where_its_guests_memory_ends() {
    let (mut machine, [control, guest, driver]) = three();
    let mut highest = |caller: &Guest, domid: u16| {
        let op = u64::from(MemoryOp::MaximumGpfn.number());
        caller.call(&mut machine, Hypercall::MemoryOp, op, &mut MemoryDomain { domid: DomId(domid) })
    };
    let known = highest(&control, 1);
    assert!(known >= i64::try_from(RAM_BASE.0).unwrap());
    for caller in [&guest, &driver] {
        assert_eq!(highest(caller, 0), error(Errno::EPERM));
    }
    assert_eq!(highest(&driver, 1), error(Errno::EPERM));
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
    assert_eq!((highest(&driver, 1), highest(&driver, 0)), (known, error(Errno::EPERM)));
    assert_eq!(highest(&guest, 2), error(Errno::EPERM), "it is no two-way street");
}

/// A permission of a domain that has died would be its successor's by the same number.
#[test]
fn who_is_dying_is_allowed_nothing() {
    let (mut machine, [control, guest, driver]) = three();
    made(&mut machine, &control, slot(0));
    assert_eq!(machine.hv.destroy_domain(&driver.domain, 0), Ok(Progress::Again));
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Err(Errno::ESRCH));
    let esrch = error(Errno::ESRCH);
    assert_eq!(ask(&mut machine, &control, XenolithOp::CreateSlot, &mut slot(1)), esrch);
    while machine.hv.destroy_domain(&driver.domain, 0) == Ok(Progress::Again) {
        machine.settle();
    }
    assert!(guest.domain.device_models.lock().is_empty());
    let successor = machine.add(Plan { id: 2, ..CONTROL });
    assert!(!guest.domain.has_device_model(&successor));
}

/// A call that was let in may come to its work when the permission is gone already.
#[test]
fn what_was_let_in_before_finds_the_door_closed() {
    let (machine, [_, guest, driver]) = three();
    let hv = &machine.hv;
    let free = hv.frames.free_frames();
    let refused = |gfn| {
        let page = Gfn(RAM_BASE.0 + 20);
        assert_eq!(driver.domain.on(hv).map_foreign(&guest.domain, page, gfn), Err(Errno::EPERM));
        assert_eq!(driver.domain.on(hv).map_grant_resource(&guest.domain, 0, gfn), Err(Errno::EPERM));
        assert!(driver.domain.lookup(gfn).is_err());
    };
    refused(Gfn(HOLE));
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
    #[cfg(feature = "ioreq")]
    let server = guest.domain.on(hv).create_server(&driver.domain).expect("a server");
    while guest.domain.on(hv).forbid_device_model(driver.domain.id) {}
    refused(Gfn(HOLE));
    #[cfg(feature = "ioreq")]
    {
        assert_eq!(guest.domain.on(hv).create_server(&driver.domain), Err(Errno::EPERM));
        let frame = driver.domain.on(hv).map_server_frame(&guest.domain, server, 1, Gfn(HOLE));
        assert_eq!(frame, Err(Errno::ENOENT));
    }
    // A frame of the guest's grant table was made for the asking.
    assert!(hv.frames.free_frames() + 1 >= free);
    assert_eq!(machine.audit(), Ok(()));
}

/// One CPU is the backend's, which takes all that it can get; another takes its permission away in the middle of that.
#[test]
fn nothing_is_left_of_what_was_begun_before_it_was_forbidden() {
    for round in 0..40 {
        let (machine, [_, guest, driver]) = three();
        assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
        let (hv, over) = (&machine.hv, AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for page in 0..16 {
                        let (from, to) = (Gfn(RAM_BASE.0 + page), Gfn(HOLE + page));
                        let _ = driver.domain.on(hv).map_foreign(&guest.domain, from, to);
                        let _ = driver.domain.on(hv).map_grant_resource(&guest.domain, 0, Gfn(HOLE + 16));
                        #[cfg(feature = "ioreq")]
                        if let Ok(server) = guest.domain.on(hv).create_server(&driver.domain) {
                            let at = Gfn(HOLE + 17 + page);
                            let _ = driver.domain.on(hv).map_server_frame(&guest.domain, server, 1, at);
                        }
                    }
                }
            });
            for _ in 0..round * 10 {
                std::thread::yield_now();
            }
            while guest.domain.on(hv).forbid_device_model(driver.domain.id) {}
            let mut from = 0;
            while let Some(next) = driver.domain.on(hv).unmap_foreign_of(guest.domain.id, from) {
                from = next;
            }
            let left: Vec<_> =
                (HOLE..HOLE + 40).filter(|&gfn| driver.domain.lookup(Gfn(gfn)).is_ok()).collect();
            let servers = guest.domain.io.held_frames();
            over.store(true, Ordering::Relaxed);
            assert_eq!((left.as_slice(), servers), (&[][..], 0), "round {round}");
        });
        assert_eq!(machine.audit(), Ok(()), "round {round}");
    }
}

/// A backend is on its CPU still when its end begins: what it says there does not outlive it.
#[test]
fn a_slot_of_a_backend_that_ends_says_so_whatever_it_says_itself() {
    let (mut machine, [control, _, driver]) = three();
    let number = made(&mut machine, &control, slot(0));
    assert_eq!(machine.hv.destroy_domain(&driver.domain, 0), Ok(Progress::Again));
    let mut report = SlotReport::new_zeroed();
    (report.number, report.state) = (number, SlotState::Ready.number());
    let at = driver.scratch(&machine);
    machine.poke(&driver.domain, at, &report);
    let arguments = [XenolithOp::ReportSlot.number(), at, 0, 0, 0];
    machine.hypercall(driver.cpu, Hypercall::Xenolith.number(), arguments);
    while machine.hv.destroy_domain(&driver.domain, 0) == Ok(Progress::Again) {
        machine.settle();
    }
    let state = machine.hv.slots.lock().next(number, None).map(|slot| slot.state);
    assert_eq!(state, Some(SlotState::Gone.number()));
}
