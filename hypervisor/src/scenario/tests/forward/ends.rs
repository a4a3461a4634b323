//! Whoever goes while a request is in flight: the guest's vCPU goes on, or all of the guest is freed. In every state that
//! the slot can be in.

use alloc::sync::Arc;

use proptest::prelude::*;
use xenolith_abi::dm::{DestroyServer, DmOp};
use xenolith_abi::event::{EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::STATE_MASK;
use xenolith_abi::sched::ShutdownReason;

use super::super::super::{Machine, Plan, device_models};
use super::super::support::{CONTROL, Guest};
use super::model::*;
use crate::domain::Domain;
use crate::domain::destroy::Progress;
use crate::types::DomId;

/// A control domain, a guest, and a driver domain that is the guest's device model: a CPU for each.
fn three() -> (Machine, Arc<Domain>, Model) {
    let mut machine = Machine::new(3, 2048);
    let control = Guest::boot(&mut machine, CONTROL).domain;
    let guest = Guest::boot(&mut machine, Plan { id: 1, ..CONTROL });
    let driver = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
    assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
    let model = Model::attach(&mut machine, driver, guest);
    (machine, control, model)
}

fn destroy(machine: &mut Machine, domain: &Arc<Domain>) {
    for _ in 0..1000 {
        if machine.hv.destroy_domain(domain, 0) == Ok(Progress::Done) {
            return;
        }
        machine.settle();
    }
    panic!("it never ends");
}

/// Lets a request be in flight in each state that a slot can have, and calls `end` on it.
fn in_every_state(end: impl Fn(&mut Machine, &Model)) {
    for state in 0..=STATE_MASK {
        let (mut machine, _, model) = three();
        machine.load(model.guest.cpu, REGISTER, 4);
        assert!(!model.guest_runs(&machine));
        let mut slot = model.slot(0);
        slot.flags = slot.flags & !STATE_MASK | state;
        model.write_slot(0, &slot);
        end(&mut machine, &model);
        machine.settle();
        model.unpin(&machine);
        assert_eq!(machine.audit(), Ok(()), "state {state}");
    }
}

fn assert_reads_all_ones(machine: &mut Machine, model: &Model) {
    machine.settle();
    assert!(model.guest_runs(machine));
    let cpu = machine.cpu_of(&model.guest.domain, 0).expect("it runs");
    assert_eq!(machine.regs(cpu).x[1], 0xffff_ffff);
    // And so does the next one, at once.
    machine.load(cpu, REGISTER + 4, 4);
    assert_eq!((model.guest_runs(machine), machine.regs(cpu).x[1]), (true, 0xffff_ffff));
}

#[test]
fn the_server_is_destroyed() {
    in_every_state(|machine, model| {
        let mut server = DestroyServer { id: model.server, pad: 0 };
        let guest = model.guest.domain.id.0;
        assert_eq!(dm_op(machine, &model.own, guest, DmOp::DestroyServer, &mut server), 0);
        assert_reads_all_ones(machine, model);
    });
}

#[test]
fn the_device_model_dies() {
    in_every_state(|machine, model| {
        let mut port = PortArgument { port: model.ports[0] };
        let op = EventOp::Close.number().into();
        assert_eq!(model.own.call(machine, Hypercall::EventChannelOp, op, &mut port), 0);
        assert_reads_all_ones(machine, model);
    });
}

#[test]
fn the_permission_is_taken_back() {
    in_every_state(|machine, model| {
        model.guest.domain.forbid_device_model(&machine.hv, model.own.domain.id);
        assert_reads_all_ones(machine, model);
    });
}

#[test]
fn the_driver_domain_is_destroyed() {
    in_every_state(|machine, model| {
        destroy(machine, &model.own.domain);
        assert_reads_all_ones(machine, model);
        assert!(machine.hv.domain(DomId(2)).is_none());
    });
}

#[test]
fn the_guest_is_destroyed() {
    for state in 0..=STATE_MASK {
        let (mut machine, _, model) = three();
        machine.load(model.guest.cpu, REGISTER, 4);
        let mut slot = model.slot(0);
        slot.flags = slot.flags & !STATE_MASK | state;
        model.write_slot(0, &slot);
        destroy(&mut machine, &model.guest.domain);
        // The test still holds the page of the slots.
        assert!(machine.hv.domain(DomId(1)).is_some_and(|guest| guest.is_dead()));
        machine.hv.unpin(model.page);
        assert!(machine.hv.domain(DomId(1)).is_none());
        assert_eq!(machine.audit(), Ok(()), "state {state}");
    }
}

#[test]
fn the_guest_shuts_down_with_a_request_in_flight() {
    let (mut machine, _, model) = three();
    machine.load(model.guest.cpu, REGISTER, 4);
    model.guest.domain.shut_down(&machine.hv, ShutdownReason::Poweroff);
    machine.settle();
    assert!(model.guest.domain.has_shut_down());
    model.answer(&mut machine, 0, 1);
    assert!(!model.guest_runs(&machine), "an answer does not bring it back");
    let domain = model.guest.domain.clone();
    destroy(&mut machine, &domain);
    model.unpin(&machine);
    assert!(machine.hv.domain(DomId(1)).is_none());
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_guest_that_waits_can_be_paused_and_looked_at() {
    let (mut machine, _, model) = three();
    let guest = &model.guest.domain;
    machine.load(model.guest.cpu, REGISTER, 4);
    assert_eq!(guest.pause(&machine.hv), Ok(()));
    machine.settle();
    assert!(guest.is_stopped(&machine.hv));
    let vcpu = guest.vcpu(crate::types::VcpuId(0)).expect("it has one");
    assert_eq!(vcpu.saved.lock().regs.pc, crate::scenario::ENTRY, "at the access");
    model.answer(&mut machine, 0, 9);
    assert!(!model.guest_runs(&machine), "the answer waits with it");
    assert_eq!(guest.unpause(&machine.hv), Ok(()));
    machine.settle();
    let cpu = machine.cpu_of(guest, 0).expect("it runs again");
    assert_eq!(machine.regs(cpu).x[1], 9);
    model.unpin(&machine);
}

#[test]
fn a_flood_of_events_stops_nobody() {
    let (mut machine, control, model) = three();
    let before = machine.cpu_of(&control, 0);
    for _ in 0..1000 {
        model.notify(&mut machine, 0);
    }
    machine.load(model.guest.cpu, REGISTER, 4);
    model.answer(&mut machine, 0, 3);
    assert!(model.guest_runs(&machine));
    assert_eq!(machine.cpu_of(&control, 0), before);
    model.unpin(&machine);
}

#[test]
fn a_driver_domain_serves_what_it_was_given_and_no_more() {
    let (mut machine, control, model) = three();
    let mut server = DestroyServer { id: 0, pad: 0 };
    let eperm = i64::from(xenolith_abi::Errno::EPERM.to_result());
    assert_eq!(dm_op(&mut machine, &model.own, control.id.0, DmOp::DestroyServer, &mut server), eperm);
    // The control domain may act for every guest, but a server is its maker's.
    let own = Guest { domain: control, cpu: 0 };
    assert_eq!(dm_op(&mut machine, &own, 1, DmOp::DestroyServer, &mut server), eperm);
    model.unpin(&machine);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_device_model_upsets_the_books(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        device_models::play(&bytes);
    }
}
