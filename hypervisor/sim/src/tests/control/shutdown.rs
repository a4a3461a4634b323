//! The shutdown of a domain, as the control domain learns of it.

use xenolith_abi::Errno;
use xenolith_abi::domctl::info_flag;
use xenolith_abi::event::{BindVirq, Status};
use xenolith_abi::sched::{RemoteShutdown, Shutdown};

use super::*;
use xenolith_policy::event::Port;

/// Binds VIRQ_DOM_EXC; the port.
fn listen(machine: &mut Machine, tools: &Toolstack) -> u32 {
    let mut bind = BindVirq { virq: 3, ..BindVirq::default() };
    assert_eq!(tools.guest.call(machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
    bind.port.0
}

fn told(tools: &Toolstack, port: u32) -> bool {
    tools.guest.domain.events.lock().poll(VcpuId(0), &[Port(port)]) == Ok(true)
}

fn started(version: u32) -> (Machine, Toolstack, u32, Arc<Domain>) {
    let (mut machine, tools) = Toolstack::new(version);
    let id = create::build(&mut machine, &tools);
    let port = listen(&mut machine, &tools);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
    let domain = machine.hv.domain(DomId(id)).unwrap();
    (machine, tools, port, domain)
}

#[test]
fn a_guest_that_shuts_down_is_reported_once_it_stands_still() {
    let (mut machine, tools, port, domain) = started(VERSION_4_17);
    assert_eq!(tools.info(&mut machine, 1).unwrap().flags >> 16, 0xff);
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    let at = ENTRY + 0x1000;
    machine.poke(&domain, at, &Shutdown { reason: 1 });
    assert!(!told(&tools, port));
    assert_eq!(machine.hypercall(cpu, Hypercall::SchedOp.number(), [2, at, 0, 0, 0]), None);
    machine.settle();
    assert!(told(&tools, port));
    let info = tools.info(&mut machine, 1).unwrap();
    assert_eq!(
        info.flags & (info_flag::SHUTDOWN | info_flag::DYING | info_flag::RUNNING),
        info_flag::SHUTDOWN
    );
    assert_eq!(info.flags >> 16, 1);
    assert_eq!(tools.simple(&mut machine, DomctlOp::ResumeDomain, 1), 0);
    assert!(machine.cpu_of(&domain, 0).is_some(), "it may go on");
    assert_eq!(tools.info(&mut machine, 1).unwrap().flags & info_flag::SHUTDOWN, 0);
}

#[test]
fn the_toolstack_shuts_a_domain_down() {
    let (mut machine, tools, port, domain) = started(VERSION_4_20);
    let mut request = RemoteShutdown { domain_id: DomId(1), pad: 0xffff, reason: 3 };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::SchedOp, 4, &mut request), 0);
    let flags = tools.info(&mut machine, 1).unwrap().flags;
    assert!(flags & info_flag::SHUTDOWN == 0 || domain.on(&machine.hv).is_stopped());
    machine.settle();
    assert!(told(&tools, port));
    assert_eq!(tools.info(&mut machine, 1).unwrap().flags >> 16, 3);
    // The first reason stays.
    request.reason = 0;
    assert_eq!(tools.guest.call(&mut machine, Hypercall::SchedOp, 4, &mut request), 0);
    assert_eq!(tools.info(&mut machine, 1).unwrap().flags >> 16, 3);
    for (domain_id, reason, errno) in [(9, 0, Errno::ESRCH), (1, 77, Errno::EINVAL)] {
        let mut request = RemoteShutdown { domain_id: DomId(domain_id), pad: 0, reason };
        let result = tools.guest.call(&mut machine, Hypercall::SchedOp, 4, &mut request);
        assert_eq!(result, error(errno));
    }
}

#[test]
fn a_domain_that_runs_is_destroyed() {
    for version in VERSIONS {
        let (mut machine, tools, port, domain) = started(version);
        let free = machine.hv.frames.free_frames();
        assert!(machine.cpu_of(&domain, 0).is_some());
        assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, 1), 0);
        machine.settle();
        assert!(told(&tools, port));
        assert_eq!(tools.info(&mut machine, 1), Err(error(Errno::ESRCH)));
        assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, 1), error(Errno::ESRCH));
        assert!(machine.hv.frames.free_frames() >= free + 516);
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn a_paused_domain_can_be_shut_down() {
    let (mut machine, tools, port, _) = started(VERSION_4_17);
    assert_eq!(tools.simple(&mut machine, DomctlOp::PauseDomain, 1), 0);
    let mut request = RemoteShutdown { domain_id: DomId(1), pad: 0, reason: 0 };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::SchedOp, 4, &mut request), 0);
    assert!(told(&tools, port));
    let flags = tools.info(&mut machine, 1).unwrap().flags;
    let both = info_flag::SHUTDOWN | info_flag::PAUSED;
    assert_eq!(flags & both, both);
}

#[test]
fn another_domain_may_not() {
    let (mut machine, _, _, domain) = started(VERSION_4_17);
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    let at = ENTRY + 0x1000;
    machine.poke(&domain, at, &RemoteShutdown { domain_id: DomId(0), pad: 0, reason: 0 });
    let result = machine.hypercall(cpu, Hypercall::SchedOp.number(), [4, at, 0, 0, 0]);
    assert_eq!(result, Some(error(Errno::EPERM)));
}

#[test]
fn ports_of_another_domain() {
    let (mut machine, tools, _, _) = started(VERSION_4_17);
    let mut status = Status { dom: DomId(1), port: Port(1), ..Status::default() };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 5, &mut status), 0);
    assert_eq!(status.status, 1, "unbound");
    status = Status { dom: DomId(1), port: Port(200), ..Status::default() };
    let result = tools.guest.call(&mut machine, Hypercall::EventChannelOp, 5, &mut status);
    assert_eq!(result, error(Errno::EINVAL));
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 10, &mut 1_u16), 0);
    status = Status { dom: DomId(1), port: Port(1), ..Status::default() };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 5, &mut status), 0);
    assert_eq!(status.status, 0, "closed by the reset");
}
