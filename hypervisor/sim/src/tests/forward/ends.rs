//! Whoever goes while a request is in flight: the guest's vCPUs go on, or all of the guest is freed. For each kind of
//! request, one vCPU and two, in every state that the slot can be in.

use proptest::prelude::*;
use xenolith_abi::Port;
use xenolith_abi::dm::{DestroyServer, DmOp};
use xenolith_abi::domctl::{DomctlOp, VcpuContext, VcpuGuestContext};
use xenolith_abi::event::{EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::State;
use xenolith_abi::sched::{RemoteShutdown, SchedOp, ShutdownReason};
use xenolith_abi::xenolith::{DeviceModel, XenolithOp};

use super::super::super::device_models;
use super::super::support::error;
use super::model::*;
use super::waiting::{Wait, Waiting, in_every_state};
use xenolith_core::types::DomId;

const NOTHING: [u8; 0] = [];

#[test]
fn the_server_is_destroyed() {
    in_every_state(|machine, waiting, _| {
        let mut server = DestroyServer { id: waiting.model.server, pad: 0 };
        assert_eq!(dm_op(machine, &waiting.model.own, 1, DmOp::DestroyServer, &mut server), 0);
        waiting.assert_goes_on(machine);
    });
}

/// Its kernel closes its ports, one after the other.
#[test]
fn the_device_model_dies() {
    in_every_state(|machine, waiting, _| {
        let model = &waiting.model;
        for (vcpu, &port) in (0..).zip(&model.ports) {
            assert!(!waiting.runs(machine, vcpu));
            let op = EventOp::Close.number().into();
            let result = model.own.call(
                machine,
                Hypercall::EventChannelOp,
                op,
                &mut PortArgument { port: Port(port) },
            );
            assert_eq!(result, 0);
            machine.settle();
            assert!(waiting.runs(machine, vcpu), "it waits for no other vCPU's port");
        }
        waiting.assert_goes_on(machine);
    });
}

#[test]
fn the_permission_is_taken_back() {
    in_every_state(|machine, waiting, _| {
        let mut parties = DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 };
        let op = XenolithOp::ForbidDeviceModel.number();
        assert_eq!(waiting.control.call(machine, Hypercall::Xenolith, op, &mut parties), 0);
        waiting.assert_goes_on(machine);
    });
}

#[test]
fn the_driver_domain_is_destroyed() {
    in_every_state(|machine, waiting, _| {
        waiting.destroy(machine, 2);
        waiting.assert_goes_on(machine);
        assert!(machine.hv.domain(DomId(2)).is_none());
    });
}

#[test]
fn the_guest_is_destroyed() {
    in_every_state(|machine, waiting, _| waiting.assert_can_be_destroyed(machine));
}

#[test]
fn the_guest_is_shut_down() {
    in_every_state(|machine, waiting, _| {
        let mut shutdown =
            RemoteShutdown { domain_id: DomId(1), pad: 0, reason: ShutdownReason::Poweroff.number() };
        let op = SchedOp::RemoteShutdown.number().into();
        assert_eq!(waiting.control.call(machine, Hypercall::SchedOp, op, &mut shutdown), 0);
        machine.settle();
        assert!(waiting.model.guest.domain.has_shut_down());
        waiting.write_state(machine, State::ResponseReady.number());
        waiting.model.notify(machine, 0);
        assert!(waiting.nobody_runs(machine), "an answer does not bring it back");
        waiting.assert_can_be_destroyed(machine);
    });
}

/// A device model that never answers keeps the vCPUs waiting, and nobody else: the toolstack can pause the guest, look at
/// it, let it go on and destroy it.
#[test]
fn nothing_is_ever_answered() {
    in_every_state(|machine, waiting, _| {
        let guest = &waiting.model.guest.domain;
        waiting.domctl(machine, DomctlOp::PauseDomain, 1, &NOTHING);
        assert!(guest.on(&machine.hv).is_stopped());
        let buffer = waiting.control.page(machine, 5);
        for vcpu in 0..waiting.vcpus {
            let asked = VcpuContext { vcpu: vcpu.into(), pad: 0, ctxt: buffer.into() };
            waiting.domctl(machine, DomctlOp::GetVcpuContext, 1, &asked);
            let context: VcpuGuestContext = machine.peek(&waiting.control.domain, buffer);
            assert_eq!(context.user_regs.pc, waiting.pc_of(vcpu), "vCPU {vcpu}");
        }
        waiting.domctl(machine, DomctlOp::UnpauseDomain, 1, &NOTHING);
        assert!(waiting.nobody_runs(machine));
        waiting.assert_can_be_destroyed(machine);
    });
}

/// The answer comes while the guest is paused, and waits with it.
#[test]
fn an_answer_comes_to_a_guest_that_is_paused() {
    for wait in Wait::ALL {
        let (mut machine, waiting) = Waiting::begin(wait, 1);
        waiting.domctl(&mut machine, DomctlOp::PauseDomain, 1, &NOTHING);
        waiting.model.answer(&mut machine, 0, 9);
        assert!(waiting.nobody_runs(&machine));
        waiting.domctl(&mut machine, DomctlOp::UnpauseDomain, 1, &NOTHING);
        if wait == Wait::Pair {
            assert!(waiting.nobody_runs(&machine), "for the second register");
            waiting.model.answer(&mut machine, 0, 9);
        }
        assert!(waiting.runs(&machine, 0));
        waiting.assert_has(&machine, 9);
    }
}

/// Events without number, and the slot as it is: whatever state that leaves, it is one vCPU's, and the end of the server
/// ends it.
#[test]
fn events_come_in_floods() {
    in_every_state(|machine, waiting, state| {
        let control = machine.cpu_of(&waiting.control.domain, 0);
        for _ in 0..50 {
            waiting.model.notify(machine, 0);
        }
        let asked_again = waiting.wait == Wait::Pair;
        let waits = matches!(State::from_number(state), Some(State::Ready | State::InProcess)) || asked_again;
        assert_eq!(waiting.runs(machine, 0), !waits);
        if waiting.vcpus > 1 {
            assert!(!waiting.runs(machine, 1), "nobody has answered that one");
        }
        assert_eq!(machine.cpu_of(&waiting.control.domain, 0), control);
        let mut server = DestroyServer { id: waiting.model.server, pad: 0 };
        assert_eq!(dm_op(machine, &waiting.model.own, 1, DmOp::DestroyServer, &mut server), 0);
        machine.settle();
        assert!((0..waiting.vcpus).all(|vcpu| waiting.runs(machine, vcpu)));
    });
}

#[test]
fn a_flood_before_the_request_changes_nothing() {
    let (mut machine, control, model) = Waiting::three(1);
    let before = machine.cpu_of(&control.domain, 0);
    for _ in 0..1000 {
        model.notify(&mut machine, 0);
    }
    machine.load(model.guest.cpu, REGISTER, 4);
    model.answer(&mut machine, 0, 3);
    assert!(model.guest_runs(&machine));
    assert_eq!(machine.cpu_of(&control.domain, 0), before);
}

#[test]
fn a_driver_domain_serves_what_it_was_given_and_no_more() {
    let (mut machine, control, model) = Waiting::three(1);
    let mut server = DestroyServer { id: 0, pad: 0 };
    let eperm = error(xenolith_abi::Errno::EPERM);
    assert_eq!(dm_op(&mut machine, &model.own, 0, DmOp::DestroyServer, &mut server), eperm);
    // The control domain may act for every guest, but a server is its maker's.
    assert_eq!(dm_op(&mut machine, &control, 1, DmOp::DestroyServer, &mut server), eperm);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_device_model_upsets_the_books(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        device_models::play(&bytes);
    }
}
