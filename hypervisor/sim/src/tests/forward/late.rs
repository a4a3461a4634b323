//! Word of a port that was bound or closed, which comes after the port has changed again: one CPU binds while another
//! closes, and who was first at the port need not be first at the servers.

use xenolith_abi::event::{BindInterdomain, EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;

use super::super::super::{Machine, Plan};
use super::super::support::{CONTROL, Guest, OTHER};
use super::model::{Model, REGISTER};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_policy::event::Port;

/// A guest whose second vCPU, which is off, has a port too, so that the server stays when the first one's is closed.
fn two_ports() -> (Machine, Model) {
    let mut machine = Machine::new(2, 2048);
    let own = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..OTHER });
    let model = Model::attach(&mut machine, own, guest);
    (machine, model)
}

fn port_op(machine: &mut Machine, model: &Model, op: EventOp) {
    let (id, remote_port) = (model.guest.domain.id.0, model.slot(machine, 0).vp_eport);
    let (op, number) = (op, u64::from(op.number()));
    let result = if op == EventOp::Close {
        model.own.call(
            machine,
            Hypercall::EventChannelOp,
            number,
            &mut PortArgument { port: Port(model.ports[0]) },
        )
    } else {
        let mut bind =
            BindInterdomain { remote_dom: DomId(id), remote_port: Port(remote_port), ..Default::default() };
        let result = model.own.call(machine, Hypercall::EventChannelOp, number, &mut bind);
        assert_eq!(bind.local_port, Port(model.ports[0]), "the lowest free port");
        result
    };
    assert_eq!(result, 0);
    machine.settle();
}

/// Word of the first vCPU's port comes, late.
fn hear_of_port(machine: &Machine, model: &Model) {
    let port = Port(model.slot(machine, 0).vp_eport);
    let (tag, vcpu) = model.guest.domain.events.lock().consumer(port).expect("a port of the server");
    assert_eq!(vcpu, VcpuId(0));
    model.guest.domain.on(&machine.hv).device_model_changed(tag, vcpu, port);
}

#[test]
fn that_it_was_bound_does_not_count_when_it_is_closed() {
    let (mut machine, model) = two_ports();
    let cpu = model.guest.cpu;
    port_op(&mut machine, &model, EventOp::Close);
    hear_of_port(&machine, &model);
    machine.load(cpu, REGISTER, 4);
    machine.settle();
    assert!(model.guest_runs(&machine), "nobody would answer");
    assert_eq!(machine.regs(cpu).x[1], 0xffff_ffff);
}

#[test]
fn that_it_was_closed_does_not_count_when_it_is_bound() {
    let (mut machine, model) = two_ports();
    let cpu = model.guest.cpu;
    port_op(&mut machine, &model, EventOp::Close);
    port_op(&mut machine, &model, EventOp::BindInterdomain);
    machine.load(cpu, REGISTER, 4);
    hear_of_port(&machine, &model);
    machine.settle();
    assert!(!model.guest_runs(&machine), "it waits for the answer");
    model.answer(&mut machine, 0, 5);
    assert!(model.guest_runs(&machine));
    assert_eq!(machine.regs(cpu).x[1], 5);
}
