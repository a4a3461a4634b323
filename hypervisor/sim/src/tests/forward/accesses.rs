//! Each form of access, from the trap to the next instruction; and what device models may ask.

use xenolith_abi::dm::{DestroyServer, DmOp, NrVcpus, SetIrqLevel};
use xenolith_abi::event::{EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::{READ, STATE_MASK, Slot, State, stale_class};
use xenolith_abi::memory::{MemoryOp, Reservation};
use xenolith_abi::{Errno, Port};

use super::model::*;
use xenolith_abi::Intid;
use xenolith_arch::sim;
use xenolith_core::types::DomId;
use xenolith_cpu::{Event, Next};
use xenolith_isa::trap::Syndrome;

#[test]
fn a_load_waits_for_its_answer() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    let before = machine.regs(cpu).pc;
    machine.load(cpu, REGISTER, 4);
    assert_eq!(machine.next(cpu), Next::Idle, "nothing else can run there");
    let slot = model.slot(&machine, 0);
    assert_eq!((slot.addr, slot.size, slot.count, slot.kind, slot.data), (REGISTER, 4, 1, 1, 0));
    assert_ne!(slot.flags & READ, 0);
    model.answer(&mut machine, 0, 0xffff_ffff_1234_5678);
    assert_eq!(machine.next(cpu), Next::Guest);
    assert_eq!(machine.regs(cpu).x[1], 0x1234_5678, "no more than was asked for");
    assert_eq!(machine.regs(cpu).pc, before + 4);
    assert_eq!(model.state(&machine, 0), Some(State::None));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_store_shows_what_is_stored_and_waits_too() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    machine.store(cpu, REGISTER, 2, 0xabcd_ef01);
    assert_eq!(machine.next(cpu), Next::Idle);
    let slot = model.slot(&machine, 0);
    assert_eq!((slot.size, slot.data, slot.flags & READ), (2, 0xef01, 0));
    model.answer(&mut machine, 0, 0);
    assert_eq!(machine.next(cpu), Next::Guest);
    assert_eq!(machine.regs(cpu).x[1], 0xabcd_ef01, "a store changes no register");
}

#[test]
fn what_nobody_has_reads_all_ones_or_aborts() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    for (address, size) in [(DEVICE - 4, 4), (DEVICE + DEVICE_SIZE, 8), (DEVICE + DEVICE_SIZE - 2, 4)] {
        machine.load(cpu, address, size);
        assert_eq!(machine.next(cpu), Next::Guest);
        let expected = if size == 8 { u64::MAX } else { 0xffff_ffff };
        assert_eq!(machine.regs(cpu).x[1], expected, "{address:#x}");
        machine.store(cpu, address, size, 1);
        assert_eq!(machine.next(cpu), Next::Guest);
    }
    assert_eq!(model.state(&machine, 0), Some(State::None));
}

#[test]
fn an_event_without_an_answer_changes_nothing() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    model.notify(&mut machine, 0);
    machine.load(cpu, REGISTER, 8);
    for _ in 0..100 {
        model.notify(&mut machine, 0);
        assert!(!model.guest_runs(&machine));
    }
    let mut slot = model.slot(&machine, 0);
    slot.flags = slot.flags & !STATE_MASK | State::InProcess.number();
    model.write_slot(&machine, 0, &slot);
    model.notify(&mut machine, 0);
    assert!(!model.guest_runs(&machine));
    slot.flags = slot.flags & !STATE_MASK | State::ResponseReady.number();
    slot.data = 7;
    model.write_slot(&machine, 0, &slot);
    model.notify(&mut machine, 0);
    assert_eq!((model.guest_runs(&machine), machine.regs(cpu).x[1]), (true, 7));
}

#[test]
fn every_value_of_a_slot_harms_only_the_access() {
    for flags in 0..=u8::MAX {
        let (mut machine, model) = Model::new();
        let cpu = model.guest.cpu;
        machine.load(cpu, REGISTER, 4);
        let junk =
            Slot { addr: u64::MAX, data: 5, count: 9, size: 99, vp_eport: 12345, pad: 1, flags, kind: 77 };
        model.write_slot(&machine, 0, &junk);
        model.notify(&mut machine, 0);
        match State::from_number(flags & STATE_MASK) {
            Some(State::Ready | State::InProcess) => assert!(!model.guest_runs(&machine)),
            Some(State::ResponseReady) => assert_eq!(machine.regs(cpu).x[1], 5),
            _ => assert_eq!(machine.regs(cpu).x[1], 0xffff_ffff),
        }
        // Whatever it was, the end of the server ends it.
        let mut destroy = DestroyServer { id: model.server, pad: 0 };
        let id = model.guest.domain.id.0;
        assert_eq!(dm_op(&mut machine, &model.own, id, DmOp::DestroyServer, &mut destroy), 0);
        machine.settle();
        assert!(model.guest_runs(&machine));
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn a_device_model_that_closes_its_ports_lets_the_guest_go() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    machine.load(cpu, REGISTER, 1);
    assert!(!model.guest_runs(&machine));
    let mut close = PortArgument { port: Port(model.ports[0]) };
    let op = EventOp::Close.number().into();
    assert_eq!(model.own.call(&mut machine, Hypercall::EventChannelOp, op, &mut close), 0);
    machine.settle();
    assert_eq!((model.guest_runs(&machine), machine.regs(cpu).x[1]), (true, 0xff));
    // The server is gone with its last port, and the address is nobody's.
    machine.load(cpu, REGISTER, 1);
    assert!(model.guest_runs(&machine));
    assert_eq!(
        model.range(&mut machine, DmOp::UnmapRange, DEVICE, DEVICE),
        i64::from(Errno::ENOENT.to_result())
    );
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_new_device_model_takes_over() {
    let (mut machine, model) = Model::new();
    let mut destroy = DestroyServer { id: model.server, pad: 0 };
    let id = model.guest.domain.id.0;
    assert_eq!(dm_op(&mut machine, &model.own, id, DmOp::DestroyServer, &mut destroy), 0);
    let model = Model::attach(&mut machine, model.own, model.guest);
    machine.load(model.guest.cpu, REGISTER, 4);
    model.answer(&mut machine, 0, 9);
    assert_eq!(machine.regs(model.guest.cpu).x[1], 9);
}

#[test]
fn only_a_device_model_may_ask() {
    let (mut machine, model) = Model::new();
    let eperm = i64::from(Errno::EPERM.to_result());
    let mut vcpus = NrVcpus::default();
    let (control, guest) = (model.own.domain.id.0, model.guest.domain.id.0);
    assert_eq!(dm_op(&mut machine, &model.guest, control, DmOp::NrVcpus, &mut vcpus), eperm);
    assert_eq!(dm_op(&mut machine, &model.guest, guest, DmOp::NrVcpus, &mut vcpus), eperm);
    assert_eq!(dm_op(&mut machine, &model.guest, DomId::SELF.0, DmOp::NrVcpus, &mut vcpus), eperm);
    let esrch = i64::from(Errno::ESRCH.to_result());
    assert_eq!(dm_op(&mut machine, &model.own, 55, DmOp::NrVcpus, &mut vcpus), esrch);
    // The permission is for one guest, and goes again.
    let other = &model.own.domain;
    other.allow_device_model(&model.guest.domain).expect("room");
    assert_eq!(dm_op(&mut machine, &model.guest, control, DmOp::NrVcpus, &mut vcpus), 0);
    while other.on(&machine.hv).forbid_device_model(model.guest.domain.id) {}
    assert_eq!(dm_op(&mut machine, &model.guest, control, DmOp::NrVcpus, &mut vcpus), eperm);
}

#[test]
fn lines_are_checked_before_they_are_driven() {
    let (mut machine, model) = Model::new();
    let id = model.guest.domain.id.0;
    let einval = i64::from(Errno::EINVAL.to_result());
    for (irq, level, pad, expected) in [
        (33, 1, 0, 0),
        (33, 0, 0, 0),
        (31, 1, 0, einval),
        (32 + 64, 1, 0, einval),
        (u32::MAX, 1, 0, einval),
        (33, 2, 0, einval),
        (33, 1, 1, einval),
    ] {
        let mut line = SetIrqLevel { irq: Intid(irq), level, pad: [pad; 3] };
        let result = dm_op(&mut machine, &model.own, id, DmOp::SetIrqLevel, &mut line);
        assert_eq!(result, expected, "{irq} {level} {pad}");
    }
}

#[test]
fn a_pair_asks_twice_and_writes_its_base_back() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    // ldp x2, x3, [x1], #16
    place_instruction(&mut machine, &model.guest, 0xa8c1_0c22);
    let before = machine.regs(cpu).pc;
    machine.regs(cpu).x[1] = REGISTER;
    undescribed(&mut machine, cpu, REGISTER, false);
    assert_eq!((model.slot(&machine, 0).addr, model.slot(&machine, 0).size), (REGISTER, 8));
    model.answer(&mut machine, 0, 11);
    assert_eq!(model.slot(&machine, 0).addr, REGISTER + 8, "the second register");
    assert!(!model.guest_runs(&machine));
    model.answer(&mut machine, 0, 22);
    let regs = machine.regs(cpu);
    assert_eq!((regs.x[2], regs.x[3], regs.x[1], regs.pc), (11, 22, REGISTER + 16, before + 4));
}

#[test]
fn a_store_before_whose_base_moves() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    // str w0, [x1, #-4]!
    place_instruction(&mut machine, &model.guest, 0xb81f_cc20);
    (machine.regs(cpu).x[0], machine.regs(cpu).x[1]) = (0xdead_beef, REGISTER + 4);
    undescribed(&mut machine, cpu, REGISTER, true);
    assert_eq!(
        (model.slot(&machine, 0).addr, model.slot(&machine, 0).data, model.slot(&machine, 0).size),
        (REGISTER, 0xdead_beef, 4)
    );
    model.answer(&mut machine, 0, 0);
    assert_eq!(machine.regs(cpu).x[1], REGISTER);
}

#[test]
fn instructions_that_cannot_be_forwarded_abort() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    // ldxr x0, [x1]; ldr q0, [x1], #16; dc zva, x1; a pair that leaves the page.
    for (word, base) in [
        (0xc85f_7c20, REGISTER),
        (0x3cc1_0420, REGISTER),
        (0xd50b_7421, REGISTER),
        (0xa8c1_0c22, (DEVICE | 0xfff) - 7),
    ] {
        place_instruction(&mut machine, &model.guest, word);
        let before = machine.regs(cpu).pc;
        machine.regs(cpu).x[1] = base;
        undescribed(&mut machine, cpu, base, false);
        assert_ne!(machine.regs(cpu).pc, before, "{word:#x}");
        assert_ne!(machine.regs(cpu).pc, before + 4, "{word:#x} goes to the exception vector");
        assert_eq!(model.state(&machine, 0), Some(State::None), "{word:#x}");
    }
}

#[test]
fn cache_maintenance_of_a_device_does_nothing() {
    const CACHE: u64 = 0x24 << 26 | 1 << 25 | 1 << 8 | 1 << 6 | 7;
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    let before = machine.regs(cpu).pc;
    machine.event(cpu, Event::Trap(Syndrome { esr: CACHE, far: REGISTER, hpfar: REGISTER >> 12 << 4 }));
    assert_eq!((machine.regs(cpu).pc, model.state(&machine, 0)), (before + 4, Some(State::None)));
}

#[test]
fn pages_that_leave_are_announced_once_before_the_guest_goes_on() {
    const PAGES: u64 = 20;
    for every in [None, Some(1), Some(3)] {
        let (mut machine, model) = Model::new();
        let (cpu, page) = (model.guest.cpu, model.guest.page(&machine, 20) >> 12);
        let list = model.guest.page(&machine, 2);
        for index in 0..PAGES {
            machine.poke(&model.guest.domain, list + index * 8, &(page + index));
        }
        let request = Reservation {
            extent_start: list.into(),
            nr_extents: PAGES,
            domid: DomId::SELF,
            ..Default::default()
        };
        let at = model.guest.scratch(&machine);
        machine.poke(&model.guest.domain, at, &request);
        let arguments = [MemoryOp::DecreaseReservation.number().into(), at, 0, 0, 0];
        sim::pause_every(every);
        assert_eq!(machine.hypercall(cpu, Hypercall::MemoryOp.number(), arguments), None, "it waits");
        let slot = model.slot(&machine, 0);
        assert_eq!((slot.kind, slot.size, slot.flags & READ), (8, 4, 0));
        let first = page << 12;
        assert_eq!((slot.addr, u64::from(slot.count), slot.data), (first, PAGES, stale_class(first)));
        model.answer(&mut machine, 0, 0);
        assert!(model.guest_runs(&machine));
        assert_eq!(machine.regs(cpu).x[0], PAGES, "all extents were done, paused every {every:?}");
        assert_eq!(model.state(&machine, 0), Some(State::None));
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn interrupts_do_not_wake_a_vcpu_that_waits_for_an_answer() {
    let (mut machine, model) = Model::new();
    machine.load(model.guest.cpu, REGISTER, 4);
    let mut line = SetIrqLevel { irq: Intid(40), level: 1, pad: [0; 3] };
    let id = model.guest.domain.id.0;
    assert_eq!(dm_op(&mut machine, &model.own, id, DmOp::SetIrqLevel, &mut line), 0);
    machine.settle();
    assert!(!model.guest_runs(&machine));
    model.answer(&mut machine, 0, 1);
    assert!(model.guest_runs(&machine));
}
