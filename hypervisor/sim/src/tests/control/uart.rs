//! A UART whose other end is a program in the control domain: what a toolstack's `vuart_op` makes.

use xenolith_abi::console::ring;
use xenolith_abi::domctl::VuartOp;
use xenolith_abi::event::{AllocUnbound, BindInterdomain, PortArgument};
use xenolith_abi::{Errno, Port};

use super::*;
use xenolith_domain::parts::progress::Progress;

/// The page with the ring, among the guest's.
const RING: u64 = 20;
const UART: u64 = 0x2200_0000;
const INTERRUPT: Intid = Intid(32);
const CLOSE: u64 = 3;
const SEND: u64 = 4;

/// The control domain, and a guest that runs.
fn with_guest() -> (Machine, Toolstack, Guest) {
    let (machine, guest, other) = Guest::two();
    (machine, Toolstack { guest, version: VERSION_4_17 }, other)
}

fn asked(machine: &Machine, guest: &Guest) -> VuartOp {
    VuartOp { gfn: Gfn(guest.page(machine, RING) >> 12), ..VuartOp::default() }
}

fn make(machine: &mut Machine, tools: &Toolstack, mut asked: VuartOp) -> Result<u32, i64> {
    let result = tools.domctl(machine, DomctlOp::VuartOp, 1, &mut asked);
    if result == 0 { Ok(asked.evtchn.0) } else { Err(result) }
}

/// What `xenconsoled` does.
fn connect(machine: &mut Machine, tools: &Toolstack, remote_port: u32) -> u32 {
    let mut bind = BindInterdomain {
        remote_dom: DomId(1),
        remote_port: Port(remote_port),
        ..BindInterdomain::default()
    };
    assert_eq!(tools.guest.call(machine, Hypercall::EventChannelOp, 0, &mut bind), 0);
    bind.local_port.0
}

fn event_op(machine: &mut Machine, guest: &Guest, op: u64, port: u32) -> i64 {
    let result = guest.call(machine, Hypercall::EventChannelOp, op, &mut PortArgument { port: Port(port) });
    machine.settle();
    result
}

/// Whether an event waits for the control domain, once.
fn heard(machine: &mut Machine, tools: &Toolstack, port: u32) -> bool {
    let pending = tools.guest.domain.shared_info.word64(48).unwrap();
    machine.settle();
    pending.clear(1 << port).unwrap() & 1 << port != 0
}

fn flags(machine: &mut Machine, guest: &Guest) -> u64 {
    machine.load(guest.cpu, UART + 0x18, 4)
}

#[test]
fn bytes_go_both_ways_and_each_end_hears_of_them() {
    let (mut machine, tools, guest) = with_guest();
    let asked = asked(&machine, &guest);
    let port = make(&mut machine, &tools, asked).unwrap();
    let at = guest.page(&machine, RING);
    machine.store(guest.cpu, UART, 1, u64::from(b'>'));
    let own = connect(&mut machine, &tools, port);
    assert!(heard(&mut machine, &tools, own), "what was sent before");
    assert!(!heard(&mut machine, &tools, own));
    machine.store(guest.cpu, UART, 1, u64::from(b'!'));
    assert!(heard(&mut machine, &tools, own));
    assert_eq!(machine.peek::<[u8; 2]>(&guest.domain, at + ring::OUT as u64), *b">!");
    assert_eq!(machine.peek::<u32>(&guest.domain, at + ring::OUT_WRITTEN as u64), 2);

    machine.store(guest.cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(guest.cpu, DISTRIBUTOR + 0x100 + 4, 4, 1);
    machine.store(guest.cpu, UART + 0x38, 4, 0x50);
    machine.poke(&guest.domain, at + ring::IN as u64, b"y");
    machine.poke(&guest.domain, at + ring::IN_WRITTEN as u64, &1_u32);
    assert_eq!(event_op(&mut machine, &tools.guest, SEND, own), 0);
    sim::on_cpu(CpuId(guest.cpu));
    assert_eq!(sim::guest::take(), Some(INTERRUPT));
    assert_eq!(machine.load(guest.cpu, UART, 4), u64::from(b'y'));
    assert!(heard(&mut machine, &tools, own), "there is room again");
    assert_eq!(flags(&mut machine, &guest), 0x90);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_full_ring_is_waited_for_while_somebody_listens() {
    let (mut machine, tools, guest) = with_guest();
    let asked = asked(&machine, &guest);
    let port = make(&mut machine, &tools, asked).unwrap();
    let own = connect(&mut machine, &tools, port);
    for _ in 0..ring::OUT_SIZE {
        machine.store(guest.cpu, UART, 1, u64::from(b'x'));
    }
    assert_eq!(flags(&mut machine, &guest), 0x30);
    assert_eq!(event_op(&mut machine, &tools.guest, CLOSE, own), 0);
    assert_eq!(flags(&mut machine, &guest), 0x90, "nobody reads, and nobody is waited for");
    connect(&mut machine, &tools, port);
    assert_eq!(flags(&mut machine, &guest), 0x30);
    machine.poke(&guest.domain, guest.page(&machine, RING) + ring::OUT_READ as u64, &1_u32);
    assert_eq!(flags(&mut machine, &guest), 0x90);
}

#[test]
fn what_is_wrong_makes_no_uart() {
    let (mut machine, tools, guest) = with_guest();
    let right = asked(&machine, &guest);
    let wrong = [
        (VuartOp { cmd: 1, ..right }, Errno::EINVAL),
        (VuartOp { pad: 1, ..right }, Errno::EINVAL),
        (VuartOp { kind: 1, ..right }, Errno::EOPNOTSUPP),
        (VuartOp { gfn: Gfn(0), ..right }, Errno::EINVAL),
        (VuartOp { gfn: Gfn(u64::MAX), ..right }, Errno::EINVAL),
    ];
    for (asked, errno) in wrong {
        assert_eq!(make(&mut machine, &tools, asked), Err(error(errno)), "{asked:?}");
        assert!(guest.domain.vuart.get().is_none());
    }
    let port = make(&mut machine, &tools, right).unwrap();
    assert_eq!(port, 1, "none was lost");
    assert_eq!(make(&mut machine, &tools, right), Err(error(Errno::EINVAL)), "it has one");
    // The port is the hypervisor's own.
    assert_eq!(event_op(&mut machine, &guest, SEND, port), error(Errno::EINVAL));
    assert_eq!(event_op(&mut machine, &guest, CLOSE, port), error(Errno::EINVAL));
    let mut next = AllocUnbound { dom: SELF, ..AllocUnbound::default() };
    assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 6, &mut next), 0);
    assert_eq!(next.port, Port(2));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_domain_without_its_interrupt_has_no_uart() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let id = create::build(&mut machine, &tools);
    let mut asked = VuartOp { gfn: Gfn(0x3_9003), ..VuartOp::default() };
    let refused = tools.domctl(&mut machine, DomctlOp::VuartOp, id, &mut asked);
    assert_eq!(refused, error(Errno::EINVAL));
    assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, id), 0);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::VuartOp, id, &mut asked), error(Errno::ESRCH));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn its_page_goes_with_its_domain() {
    let (mut machine, tools, guest) = with_guest();
    let free = machine.hv.frames.free_frames();
    let asked = asked(&machine, &guest);
    let port = make(&mut machine, &tools, asked).unwrap();
    let own = connect(&mut machine, &tools, port);
    machine.store(guest.cpu, UART, 1, u64::from(b'x'));
    while machine.hv.destroy_domain(&guest.domain, 128) != Ok(Progress::Done) {
        assert_eq!(machine.audit(), Ok(()));
        event_op(&mut machine, &tools.guest, SEND, own);
    }
    drop(guest);
    machine.settle();
    assert!(machine.hv.domain(DomId(1)).is_none(), "nothing of it is held");
    assert!(machine.hv.frames.free_frames() > free);
    assert_eq!(event_op(&mut machine, &tools.guest, SEND, own), 0, "into the void");
    assert_eq!(machine.audit(), Ok(()));
}
