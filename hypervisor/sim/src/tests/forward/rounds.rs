//! Guests that come and go while a request of theirs is in flight, on one machine: each leaves as many free frames as there were,
//! and no frame with anything in it.
//!
//! `cargo xtask test --rounds N` plays N of them.

use std::io::Write;

use xenolith_abi::Port;
use xenolith_abi::domctl::DomctlOp;
use xenolith_abi::event::{EventOp, PortArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::{RemoteShutdown, SchedOp, ShutdownReason};

use super::super::super::{Machine, Plan};
use super::super::support::{CONTROL, Guest};
use super::model::*;
use super::waiting::{Wait, Waiting};
use xenolith_core::types::{DomId, Gfn, Mfn, PAGE_SIZE};
use xenolith_memory::arena;

/// Set to the number of rounds.
const ROUNDS_OPTION: &str = "LIFE_ROUNDS";
/// Rounds that are played otherwise: each end four times.
const ROUNDS: u64 = 12;
const GUEST: u16 = 1;
const DRIVER: u16 = 2;
/// What the guest's memory is full of.
const SECRET: u64 = 0x5ec3_e75e_c3e7_0000;

/// How a round ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Destroyed,
    Rebooted,
    BackendKilled,
}

const ENDS: [End; 3] = [End::Destroyed, End::Rebooted, End::BackendKilled];

/// The frames of a guest's RAM, each with a secret in it. The guest does not run yet.
fn fill(machine: &Machine, guest: &Guest) -> Vec<Mfn> {
    let first = machine.ram_of(&guest.domain);
    let frame = |page: u64| {
        let gfn = Gfn(first.0 + page);
        machine.poke(&guest.domain, gfn.base().0, &[SECRET | page; PAGE_SIZE as usize / 8]);
        let frame = guest.domain.on(&machine.hv).get_frame(gfn).expect("its RAM");
        let mfn = xenolith_policy::event::SharedFrame::page(&frame).mfn();
        machine.hv.put_frame(frame);
        mfn
    };
    (0..CONTROL.pages).map(frame).collect()
}

fn is_zero(mfn: Mfn) -> bool {
    let mut bytes = [1; PAGE_SIZE as usize];
    let page = arena::at(mfn).expect("a frame of the machine");
    page.read(0, &mut bytes) && bytes.iter().all(|&byte| byte == 0)
}

/// What stays from round to round.
struct Host {
    machine: Machine,
    control: Guest,
    driver: Guest,
}

impl Host {
    fn new() -> Self {
        let mut machine = Machine::new(3, 1024);
        let control = Guest::boot(&mut machine, CONTROL);
        let driver = Guest::boot(&mut machine, Plan { id: DRIVER, ..CONTROL });
        Host { machine, control, driver }
    }

    /// One round. The frames that the guest had.
    fn round(&mut self, end: End) -> Vec<Mfn> {
        let Host { machine, control, driver } = self;
        let guest = Guest::boot(machine, Plan { id: GUEST, ..CONTROL });
        let frames = fill(machine, &guest);
        assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
        let model = Model::attach(machine, driver.clone(), guest);
        let at = machine.regs(model.guest.cpu).pc;
        machine.load(model.guest.cpu, REGISTER, 4);
        assert!(!model.guest_runs(machine), "its request is in flight");
        let waiting = Waiting { control: control.clone(), model, wait: Wait::Load, vcpus: 1, at };
        match end {
            End::Destroyed => {}
            End::Rebooted => {
                let reason = ShutdownReason::Reboot.number();
                let mut shutdown = RemoteShutdown { domain_id: DomId(GUEST), pad: 0, reason };
                let op = SchedOp::RemoteShutdown.number().into();
                assert_eq!(waiting.control.call(machine, Hypercall::SchedOp, op, &mut shutdown), 0);
                machine.settle();
                assert!(waiting.model.guest.domain.has_shut_down());
            }
            End::BackendKilled => {
                waiting.destroy(machine, DRIVER);
                waiting.assert_goes_on(machine);
            }
        }
        match end {
            End::BackendKilled => waiting.domctl(machine, DomctlOp::DestroyDomain, GUEST, &[0_u8; 0]),
            _ => {
                waiting.assert_can_be_destroyed(machine);
                let mut port = PortArgument { port: Port(waiting.model.ports[0]) };
                let op = EventOp::Close.number().into();
                assert_eq!(waiting.model.own.call(machine, Hypercall::EventChannelOp, op, &mut port), 0);
            }
        }
        drop(waiting);
        machine.settle();
        assert!(machine.hv.domain(DomId(GUEST)).is_none());
        if matches!(end, End::BackendKilled) {
            // What keeps a domain that has ended is dropped when the next one is made.
            let domain = machine.boot(Plan { id: DRIVER, ..CONTROL });
            let cpu = machine.cpu_of(&domain, 0).expect("an idle CPU has taken it");
            *driver = Guest { domain, cpu };
        }
        frames
    }
}

#[test]
fn guests_that_end_with_a_request_in_flight_leave_nothing() {
    let rounds = std::env::var(ROUNDS_OPTION).ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut host = Host::new();
    // The first guest leaves tables of the domains that stay, which need them from then on.
    ENDS.iter().for_each(|&end| drop(host.round(end)));
    let free = host.machine.hv.frames.free_frames();
    for round in 0..rounds {
        let end = ENDS[(round % ENDS.len() as u64) as usize];
        let frames = host.round(end);
        assert_eq!(host.machine.hv.frames.free_frames(), free, "round {round}, {end:?}");
        assert_eq!(host.machine.audit(), Ok(()), "round {round}, {end:?}");
        // The next driver domain may have got some of them.
        let is_free = |mfn: &&Mfn| host.machine.hv.frames.owner_of(**mfn).is_err();
        let dirty = frames.iter().filter(is_free).find(|&&mfn| !is_zero(mfn));
        assert_eq!(dirty, None, "round {round}, {end:?}: a freed frame still has what the guest wrote");
    }
    let text =
        format!("{rounds} guests ended with a request in flight: {free} frames free before and after each");
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}
