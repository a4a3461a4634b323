//! Events sent between any two memory accesses of consuming guests: each event is handled after it was sent, alone or
//! together with others of its port, and the queues stay whole (the consumers check that).

use proptest::prelude::*;

use super::consumer::{FifoCpu, Step, TwoLevelCpu, fifo_mask, fifo_unmask, two_level_mask};
use super::support::{Domain, connect, deliver};
use crate::event::{EventActions, Peer, Port, Sent};
use xenolith_core::types::VcpuId;
use xenolith_memory::page::Page;

const VCPUS: u16 = 2;
const PORTS: usize = 6;

/// A guest with ports that another domain signals.
struct Guest {
    domain: Domain,
    sender: Domain,
    ports: [Port; PORTS],
    peers: [Peer; PORTS],
    /// Events sent to each port, and how many of them its handler has seen.
    sent: [u32; PORTS],
    seen: [u32; PORTS],
}

impl Guest {
    fn new() -> Self {
        let (mut domain, mut sender) = (Domain::new(0, VCPUS, 100), Domain::new(1, 1, 100));
        let pairs: [_; PORTS] = core::array::from_fn(|_| connect(&mut domain, &mut sender));
        let peers = pairs.map(|(_, far)| peer(&mut sender, far));
        domain.shared_info.zero();
        let ports = pairs.map(|(near, _)| near);
        Guest { domain, sender, ports, peers, sent: [0; PORTS], seen: [0; PORTS] }
    }

    /// Closes a port and opens another in its place, which may get the same number.
    fn replace(&mut self, index: usize) {
        let _ = self.domain.channels.close(self.ports[index]).unwrap();
        let (near, far) = connect(&mut self.domain, &mut self.sender);
        self.ports[index] = near;
        self.peers[index] = peer(&mut self.sender, far);
        (self.sent[index], self.seen[index]) = (0, 0);
    }

    fn send(&mut self, index: usize) -> EventActions {
        self.sent[index] += 1;
        deliver(&mut self.domain, self.peers[index])
    }

    fn handle(&mut self, port: Port) {
        let index = self.ports.iter().position(|&own| own == port);
        let index = index.expect("an event of a port that is not ours");
        self.seen[index] = self.sent[index];
    }
}

/// Where an event arrives that is sent through this port.
fn peer(sender: &mut Domain, port: Port) -> Peer {
    match sender.channels.send(port) {
        Ok(Sent::To(peer)) => peer,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Send(usize),
    Step(usize),
    Mask(usize),
    Unmask(usize),
    Priority(usize, u32),
    Move(usize, u16),
    Replace(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let index = 0..PORTS;
    let act = prop_oneof![
        6 => index.clone().prop_map(Act::Send),
        16 => (0..usize::from(VCPUS)).prop_map(Act::Step),
        1 => index.clone().prop_map(Act::Mask),
        1 => index.clone().prop_map(Act::Unmask),
        1 => (index.clone(), prop::sample::select(vec![0, 7, 15])).prop_map(|(port, priority)| Act::Priority(port, priority)),
        1 => index.clone().prop_map(Act::Replace),
        1 => (index, 0..VCPUS).prop_map(|(port, vcpu)| Act::Move(port, vcpu)),
    ];
    prop::collection::vec(act, 1..400)
}

/// Every vCPU whose upcall went up was named, and no other.
fn check_notified(infos: Page, before: [u8; 2], effects: EventActions) {
    for vcpu in 0..VCPUS {
        let now = infos.byte(usize::from(vcpu) * 64).unwrap().load();
        let rose = before[usize::from(vcpu)] == 0 && now != 0;
        assert_eq!(effects.notify.contains(VcpuId(vcpu)), rose);
    }
}

fn upcalls(infos: Page) -> [u8; 2] {
    [0, 64].map(|offset| infos.byte(offset).unwrap().load())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_event_is_lost_in_the_fifo_form(acts in acts()) {
        let mut guest = Guest::new();
        let (control, array) = guest.domain.use_fifo(VCPUS, 1);
        let infos = guest.domain.register_vcpu_infos(VCPUS);
        let mut cpus: Vec<FifoCpu> = (0..usize::from(VCPUS))
            .map(|cpu| FifoCpu::new(infos.byte(cpu * 64).unwrap(), control, cpu * 128, array.clone()))
            .collect();
        for act in acts {
            let before = upcalls(infos);
            match act {
                Act::Send(index) => {
                    let effects = guest.send(index);
                    check_notified(infos, before, effects);
                }
                Act::Step(cpu) => {
                    if let Step::Handle(port) = cpus[cpu].step() {
                        guest.handle(port);
                    }
                }
                Act::Mask(index) => {
                    fifo_mask(&array, guest.ports[index]);
                }
                Act::Unmask(index) => {
                    if fifo_unmask(&array, guest.ports[index]) {
                        let effects = guest.domain.channels.unmask(guest.ports[index]).unwrap();
                        check_notified(infos, before, effects);
                    }
                }
                Act::Priority(index, priority) => {
                    guest.domain.channels.set_priority(guest.ports[index], priority).unwrap();
                }
                Act::Replace(index) => guest.replace(index),
                Act::Move(index, vcpu) => {
                    guest.domain.channels.bind_vcpu(guest.ports[index], VcpuId(vcpu)).unwrap();
                }
            }
        }
        for port in guest.ports {
            if fifo_unmask(&array, port) {
                let _ = guest.domain.channels.unmask(port).unwrap();
            }
        }
        for cpu in &mut cpus {
            for _ in 0..10_000 {
                match cpu.step() {
                    Step::Handle(port) => guest.handle(port),
                    Step::Busy => {}
                    Step::Idle => break,
                }
            }
            prop_assert_eq!(cpu.step(), Step::Idle);
        }
        prop_assert_eq!(guest.seen, guest.sent);
    }

    #[test]
    fn no_event_is_lost_in_the_2_level_form(acts in acts()) {
        let mut guest = Guest::new();
        let infos = guest.domain.register_vcpu_infos(VCPUS);
        for index in PORTS / 2..PORTS {
            guest.domain.channels.bind_vcpu(guest.ports[index], VcpuId(1)).unwrap();
        }
        let shared_info = guest.domain.shared_info;
        let (first, second) = guest.ports.split_at(PORTS / 2);
        let mut cpus = [
            TwoLevelCpu::new((infos, 0), shared_info, first),
            TwoLevelCpu::new((infos, 64), shared_info, second),
        ];
        for act in acts {
            let before = upcalls(infos);
            match act {
                Act::Send(index) => {
                    let effects = guest.send(index);
                    check_notified(infos, before, effects);
                }
                Act::Step(cpu) => {
                    if let Step::Handle(port) = cpus[cpu].step() {
                        guest.handle(port);
                    }
                }
                Act::Mask(index) => two_level_mask(shared_info, guest.ports[index]),
                Act::Unmask(index) => {
                    let effects = guest.domain.channels.unmask(guest.ports[index]).unwrap();
                    check_notified(infos, before, effects);
                }
                Act::Priority(..) | Act::Move(..) | Act::Replace(_) => {}
            }
        }
        for port in guest.ports {
            let _ = guest.domain.channels.unmask(port).unwrap();
        }
        for cpu in &mut cpus {
            for _ in 0..10_000 {
                match cpu.step() {
                    Step::Handle(port) => guest.handle(port),
                    Step::Busy => {}
                    Step::Idle => break,
                }
            }
            prop_assert_eq!(cpu.step(), Step::Idle);
        }
        prop_assert_eq!(guest.seen, guest.sent);
    }
}
