//! Guests that write what they like into the shared words, between our calls and during them: every call ends, the
//! hypervisor's own tables stay as the calls made them, and another domain gets its events.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use proptest::prelude::*;
use xenolith_abi::event::fifo::{LINKED, PENDING};

use super::support::{Domain, connect, deliver, run_steps, word};
use crate::event::{EventChannels, Peer, Port, Sent};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

const PORTS: usize = 4;

/// A hostile domain and a peaceful one, connected, and all pages that the hostile one can write.
struct Pair {
    hostile: Domain,
    peaceful: Domain,
    pages: Vec<Page>,
    ports: [(Port, Port); PORTS],
}

fn pair(fifo: bool) -> Pair {
    let (mut hostile, mut peaceful) = (Domain::new(0, 2, 5000), Domain::new(1, 1, 100));
    let mut pages = vec![hostile.shared_info];
    if fifo {
        let (control, array) = hostile.use_fifo(2, 1);
        pages.push(control);
        pages.extend(array);
    }
    pages.push(hostile.register_vcpu_infos(2));
    let ports = core::array::from_fn(|_| connect(&mut hostile, &mut peaceful));
    peaceful.shared_info.zero();
    Pair { hostile, peaceful, pages, ports }
}

fn to(domain: &mut Domain, port: Port) -> Peer {
    match domain.channels.send(port) {
        Ok(Sent::To(peer)) => peer,
        other => panic!("{other:?}"),
    }
}

impl Pair {
    /// Every call that touches the hostile domain's words.
    fn call(&mut self, kind: usize, index: usize, vcpu: u16) {
        let (port, far) = self.ports[index];
        match kind {
            0 | 1 => {
                let peer = to(&mut self.peaceful, far);
                let effects = deliver(&mut self.hostile, peer);
                assert!(effects.notify.iter().all(|vcpu| vcpu.0 < 2));
            }
            2 => {
                let _ = self.hostile.channels.unmask(port).unwrap();
            }
            3 => self.hostile.channels.bind_vcpu(port, VcpuId(vcpu)).unwrap(),
            4 => {
                let _ = self.hostile.channels.set_priority(port, u32::from(vcpu) * 15);
            }
            5 => {
                let _ = self.hostile.channels.poll(VcpuId(vcpu), &[port]).unwrap();
            }
            _ => {
                if let Ok(port) = self.hostile.channels.alloc_unbound(DomId(1)) {
                    let _ = self.hostile.channels.close(port).unwrap();
                }
            }
        }
    }

    /// The peaceful domain gets events from the hostile one, and all ends well.
    fn finish(mut self) {
        for (port, far) in self.ports {
            let peer = to(&mut self.hostile, port);
            let _ = deliver(&mut self.peaceful, peer);
            assert!(self.peaceful.pending_bit(far));
            assert_eq!(self.peaceful.status(far).remote_port, port);
        }
        let peers = run_steps(&mut self.hostile.channels, EventChannels::teardown_step);
        assert_eq!(peers.len(), PORTS);
        assert_eq!(self.hostile.frames_held(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nonsense_between_calls_does_no_harm(
        fifo: bool,
        acts in prop::collection::vec(
            (0..7usize, 0..PORTS, 0..2u16, any::<prop::sample::Index>(), 0..24usize, any::<u64>()),
            1..100,
        ),
    ) {
        let mut pair = pair(fifo);
        for (kind, index, vcpu, page, offset, value) in acts {
            // The words that matter stand at the start of each page, and in shared info also further behind.
            let page = pair.pages[page.index(pair.pages.len())];
            page.word64(offset * 8).unwrap().store(value);
            pair.call(kind, index, vcpu);
        }
        pair.finish();
    }
}

#[test]
fn nonsense_during_calls_does_no_harm() {
    for fifo in [false, true] {
        let mut pair = pair(fifo);
        let pages = pair.pages.clone();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = 1u64;
                while !stop.load(Relaxed) {
                    for page in &pages {
                        for offset in (0..192).step_by(8) {
                            value = value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                            page.word64(offset).unwrap().store(value);
                        }
                    }
                }
            });
            for call in 0..20_000usize {
                pair.call(call % 7, call / 7 % PORTS, (call / 3 % 2) as u16);
            }
            stop.store(true, Relaxed);
        });
        pair.finish();
    }
}

#[test]
fn a_closed_port_that_stays_queued_costs_its_domain_that_port_only() {
    let mut pair = pair(true);
    let array = pair.pages[2];
    for index in 0..1024 {
        array.word32(index * 4).unwrap().store(LINKED);
    }
    assert!(pair.hostile.channels.alloc_unbound(DomId(1)).is_err());
    assert!(pair.peaceful.channels.alloc_unbound(DomId(0)).is_ok());
    array.zero();
    assert!(pair.hostile.channels.alloc_unbound(DomId(1)).is_ok());
}

#[test]
fn words_that_link_to_themselves_end_no_loop() {
    let mut pair = pair(true);
    let array = [pair.pages[2]];
    for (port, _) in pair.ports {
        word(&array, port).store(LINKED | PENDING | port.0);
    }
    for index in 0..PORTS {
        pair.call(0, index, 0);
        pair.call(2, index, 0);
    }
    pair.finish();
}

#[test]
fn one_page_may_be_everything_at_once() {
    let mut domain = Domain::new(0, 2, 5000);
    let port = domain.channels.bind_ipi(VcpuId(1)).unwrap();
    let all = page();
    for vcpu in 0..2 {
        let frame = domain.frame(all);
        let _ = domain.channels.register_vcpu_info(VcpuId(vcpu), frame, 0).unwrap();
        let frame = domain.frame(all);
        domain.channels.init_control(VcpuId(vcpu), frame, 0).unwrap();
    }
    for _ in 0..3 {
        let frame = domain.frame(all);
        let _ = domain.channels.expand_array(frame).unwrap();
    }
    for _ in 0..100 {
        let _ = domain.channels.send(port).unwrap();
        let _ = domain.channels.unmask(port).unwrap();
    }
    run_steps(&mut domain.channels, EventChannels::teardown_step);
    assert_eq!(domain.frames_held(), 0);
}
