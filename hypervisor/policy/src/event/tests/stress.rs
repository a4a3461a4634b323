//! Producers and consumers at once, on threads of their own: no event is lost and no interrupt is missed. The numbers
//! are small; a consumer that waits in vain for its interrupt ends the test at the deadline.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::consumer::{FifoCpu, Step, TwoLevelCpu, fifo_mask, fifo_unmask, two_level_mask};
use super::support::{Domain, connect, deliver};
use crate::event::{EventActions, Peer, Port, Sent};
use xenolith_core::types::VcpuId;

const PORTS: usize = 8;
const EVENTS: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the threads share: each vCPU handles half of the ports, each producer signals every second one.
struct Stage {
    domain: Mutex<Domain>,
    ports: [Port; PORTS],
    peers: [Peer; PORTS],
    interrupts: [AtomicBool; 2],
    sent: [AtomicU32; PORTS],
    seen: [AtomicU32; PORTS],
    deadline: Instant,
}

impl Stage {
    fn new(prepare: impl FnOnce(&mut Domain)) -> Self {
        let (mut domain, mut sender) = (Domain::new(0, 2, 100), Domain::new(1, 1, 100));
        prepare(&mut domain);
        let pairs: [_; PORTS] = core::array::from_fn(|index| {
            let (near, far) = connect(&mut domain, &mut sender);
            domain.channels.bind_vcpu(near, VcpuId((index * 2 / PORTS) as u16)).unwrap();
            let Ok(Sent::To(peer)) = sender.channels.send(far) else { panic!() };
            (near, peer)
        });
        // The 2-level form leaves it to the guest to look for events of a port that it moves.
        domain.shared_info.zero();
        Stage {
            domain: Mutex::new(domain),
            ports: pairs.map(|(port, _)| port),
            peers: pairs.map(|(_, peer)| peer),
            // Connecting made the ports pending.
            interrupts: [AtomicBool::new(true), AtomicBool::new(true)],
            sent: Default::default(),
            seen: Default::default(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    fn follow(&self, effects: EventActions) {
        for vcpu in effects.notify.iter() {
            self.interrupts[usize::from(vcpu.0)].store(true, Relaxed);
        }
    }

    fn produce(&self, which: usize) {
        for event in 1..=EVENTS {
            for index in (which..PORTS).step_by(2) {
                self.sent[index].store(event, Relaxed);
                let effects = deliver(&mut self.domain.lock().unwrap(), self.peers[index]);
                self.follow(effects);
            }
        }
    }

    /// Steps a consumer until all events were seen; `handled` runs after each event.
    fn consume(&self, cpu: usize, mut step: impl FnMut() -> Step, handled: impl Fn(Port)) {
        let mut events = 0;
        loop {
            match step() {
                Step::Busy => {}
                Step::Handle(port) => {
                    let index = self.ports.iter().position(|&own| own == port).unwrap();
                    self.seen[index].store(self.sent[index].load(Relaxed), Relaxed);
                    events += 1;
                    if events % 8 == 0 {
                        handled(port);
                    }
                }
                Step::Idle => {
                    while !self.interrupts[cpu].swap(false, Relaxed) {
                        if self.seen.iter().all(|seen| seen.load(Relaxed) == EVENTS) {
                            return;
                        }
                        assert!(Instant::now() < self.deadline, "seen {:?} of {:?}", self.seen, self.sent);
                        thread::yield_now();
                    }
                }
            }
        }
    }

    fn unmask(&self, port: Port) {
        let effects = self.domain.lock().unwrap().channels.unmask(port).unwrap();
        self.follow(effects);
    }
}

#[test]
fn fifo_consumers_and_producers_at_once() {
    let mut pages = None;
    let stage = Stage::new(|domain| {
        let (control, array) = domain.use_fifo(2, 1);
        pages = Some((control, array, domain.register_vcpu_infos(2)));
    });
    let (control, array, infos) = pages.unwrap();
    thread::scope(|scope| {
        for cpu in 0..2 {
            let (stage, array) = (&stage, array.clone());
            let upcall = infos.byte(cpu * 64).unwrap();
            let mut consumer = FifoCpu::new(upcall, control, cpu * 128, array.clone());
            scope.spawn(move || {
                let pause = |port| {
                    fifo_mask(&array, port);
                    if fifo_unmask(&array, port) {
                        stage.unmask(port);
                    }
                };
                stage.consume(cpu, || consumer.step(), pause);
            });
            scope.spawn(move || stage.produce(cpu));
        }
    });
}

#[test]
fn two_level_consumers_and_producers_at_once() {
    let mut infos = None;
    let stage = Stage::new(|domain| infos = Some(domain.register_vcpu_infos(2)));
    let infos = infos.unwrap();
    let shared_info = stage.domain.lock().unwrap().shared_info;
    thread::scope(|scope| {
        for cpu in 0..2 {
            let stage = &stage;
            let own = &stage.ports[cpu * PORTS / 2..(cpu + 1) * PORTS / 2];
            let mut consumer = TwoLevelCpu::new((infos, cpu * 64), shared_info, own);
            scope.spawn(move || {
                let pause = |port| {
                    two_level_mask(shared_info, port);
                    stage.unmask(port);
                };
                stage.consume(cpu, || consumer.step(), pause);
            });
            scope.spawn(move || stage.produce(cpu));
        }
    });
}
