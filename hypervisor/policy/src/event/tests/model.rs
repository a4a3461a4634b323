//! Random calls on three domains, compared with a model of what each port is and whether it is pending.
//!
//! The guests never consume, nothing is masked, and the form is the 2-level one: here the ports count, not the queues.

use proptest::prelude::*;
use xenolith_abi::Errno;
use xenolith_abi::event::{EventStatus, Status, Virq};

use super::support::{Domain, run_steps};
use crate::event::{ConsumerTag, Delivery, Ends, EventChannels, Port, Sent};
use xenolith_core::types::{DomId, VcpuId};

const DOMAINS: usize = 3;
const VCPUS: u16 = 2;
const MAX_PORT: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    Unbound(usize),
    Connected(usize, u32),
    Virq(Virq),
    Ipi,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    vcpu: u16,
    consumer: bool,
    pending: bool,
}

const FREE: Slot = Slot { state: State::Free, vcpu: 0, consumer: false, pending: false };

#[derive(Clone, Copy, Debug)]
enum Call {
    AllocUnbound { remote: usize },
    AllocConsumer { remote: usize, vcpu: u16 },
    BindInterdomain { remote: usize, port: u32 },
    BindVirq { virq: Virq, vcpu: u16 },
    BindIpi { vcpu: u16 },
    BindVcpu { port: u32, vcpu: u16 },
    Close { port: u32 },
    CloseConsumer { port: u32 },
    Send { port: u32 },
    Raise { virq: Virq, vcpu: u16 },
    Reset,
}

fn calls() -> impl Strategy<Value = (usize, Call)> {
    let domain = 0..DOMAINS;
    let port = 0..MAX_PORT + 2;
    let vcpu = 0..VCPUS + 1;
    let virq = prop::sample::select(vec![Virq::Timer, Virq::Console, Virq::DomExc]);
    let call = prop_oneof![
        4 => domain.clone().prop_map(|remote| Call::AllocUnbound { remote }),
        1 => (domain.clone(), vcpu.clone()).prop_map(|(remote, vcpu)| Call::AllocConsumer { remote, vcpu }),
        8 => (domain.clone(), port.clone()).prop_map(|(remote, port)| Call::BindInterdomain { remote, port }),
        2 => (virq.clone(), vcpu.clone()).prop_map(|(virq, vcpu)| Call::BindVirq { virq, vcpu }),
        1 => vcpu.clone().prop_map(|vcpu| Call::BindIpi { vcpu }),
        2 => (port.clone(), vcpu.clone()).prop_map(|(port, vcpu)| Call::BindVcpu { port, vcpu }),
        4 => port.clone().prop_map(|port| Call::Close { port }),
        1 => port.clone().prop_map(|port| Call::CloseConsumer { port }),
        6 => port.prop_map(|port| Call::Send { port }),
        2 => (virq, vcpu).prop_map(|(virq, vcpu)| Call::Raise { virq, vcpu }),
        1 => Just(Call::Reset),
    ];
    (domain, call)
}

/// The domains as they should be: for each its ports, 0 among them and always free.
struct Model([[Slot; MAX_PORT as usize + 1]; DOMAINS]);

impl Model {
    fn slot(&mut self, domain: usize, port: u32) -> Option<&mut Slot> {
        self.0[domain].get_mut(port as usize)
    }

    fn guests(&mut self, domain: usize, port: u32) -> Result<&mut Slot, Errno> {
        self.slot(domain, port)
            .filter(|slot| slot.state != State::Free && !slot.consumer)
            .ok_or(Errno::EINVAL)
    }

    fn allocate(&mut self, domain: usize, slot: Slot) -> Result<Port, Errno> {
        let port = (1..=MAX_PORT).find(|&port| self.0[domain][port as usize].state == State::Free);
        let port = port.ok_or(Errno::ENOSPC)?;
        self.0[domain][port as usize] = slot;
        Ok(Port(port))
    }

    fn bind_interdomain(&mut self, domain: usize, remote: usize, port: u32) -> Result<Port, Errno> {
        self.slot(remote, port).filter(|slot| slot.state == State::Unbound(domain)).ok_or(Errno::EINVAL)?;
        let state = State::Connected(remote, port);
        let local = self.allocate(domain, Slot { state, pending: true, ..FREE })?;
        self.0[remote][port as usize].state = State::Connected(domain, local.0);
        Ok(local)
    }

    fn bind_virq(&mut self, domain: usize, virq: Virq, vcpu: u16) -> Result<Port, Errno> {
        if !virq.is_per_vcpu() && vcpu != 0 {
            return Err(Errno::EINVAL);
        }
        if vcpu >= VCPUS {
            return Err(Errno::ENOENT);
        }
        if self.find_virq(domain, virq, vcpu).is_some() {
            return Err(Errno::EEXIST);
        }
        self.allocate(domain, Slot { state: State::Virq(virq), vcpu, ..FREE })
    }

    fn find_virq(&self, domain: usize, virq: Virq, vcpu: u16) -> Option<usize> {
        let here = |slot: &Slot| !virq.is_per_vcpu() || slot.vcpu == vcpu;
        self.0[domain].iter().position(|slot| slot.state == State::Virq(virq) && here(slot))
    }

    fn bind_vcpu(&mut self, domain: usize, port: u32, vcpu: u16) -> Result<(), Errno> {
        if vcpu >= VCPUS {
            return Err(Errno::ENOENT);
        }
        let slot = self.guests(domain, port)?;
        match slot.state {
            State::Ipi => return Err(Errno::EINVAL),
            State::Virq(virq) if virq.is_per_vcpu() => return Err(Errno::EINVAL),
            _ => slot.vcpu = vcpu,
        }
        Ok(())
    }

    fn close(&mut self, domain: usize, port: u32) {
        if let State::Connected(peer, peer_port) = self.0[domain][port as usize].state {
            self.0[peer][peer_port as usize].state = State::Unbound(domain);
        }
        self.0[domain][port as usize] = FREE;
    }

    fn send(&mut self, domain: usize, port: u32) -> Result<(), Errno> {
        let slot = self.guests(domain, port)?;
        match slot.state {
            State::Connected(peer, peer_port) => {
                let far = &mut self.0[peer][peer_port as usize];
                far.pending |= !far.consumer;
            }
            State::Ipi => slot.pending = true,
            State::Unbound(_) => {}
            State::Virq(_) | State::Free => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

/// The real domains.
struct Real([Domain; DOMAINS]);

impl Real {
    fn bind_interdomain(&mut self, domain: usize, remote: usize, port: u32) -> Result<Port, Errno> {
        let mut ends = match self.0.get_disjoint_mut([domain, remote]) {
            Ok([local, remote]) => Ends::Two { local: &mut local.channels, remote: &mut remote.channels },
            Err(_) => Ends::Loopback(&mut self.0[domain].channels),
        };
        ends.bind_interdomain(Port(port)).map(|(port, _)| port)
    }

    fn disconnect(&mut self, peer: crate::event::Peer) {
        self.0[usize::from(peer.domain.0)].channels.disconnect(peer);
    }

    fn send(&mut self, domain: usize, port: u32) -> Result<(), Errno> {
        if let Sent::To(peer) = self.0[domain].channels.send(Port(port))? {
            let consumer = self.0[usize::from(peer.domain.0)].channels.deliver(peer);
            if let Delivery::Consumer(tag, _) = consumer {
                assert_eq!(tag, ConsumerTag(u32::from(peer.domain.0)));
            }
        }
        Ok(())
    }
}

fn check(real: &Real, model: &Model) {
    for (domain, slots) in real.0.iter().zip(&model.0) {
        for (port, slot) in slots.iter().enumerate() {
            let port = port as u32;
            let mut status = Status { port: Port(port), ..Status::default() };
            let result = domain.channels.status(&mut status);
            if slot.consumer {
                assert_eq!(result, Err(Errno::EACCES));
                continue;
            }
            // A table that has not grown yet knows no port.
            if result == Err(Errno::EINVAL) && slots.iter().all(|slot| slot.state == State::Free) {
                continue;
            }
            let (state, bound_to, remote_port) = match slot.state {
                State::Free => (EventStatus::Closed, 0, 0),
                State::Unbound(remote) => (EventStatus::Unbound, remote as u32, 0),
                State::Connected(peer, port) => (EventStatus::Interdomain, peer as u32, port),
                State::Virq(virq) => (EventStatus::Virq, virq.number(), 0),
                State::Ipi => (EventStatus::Ipi, 0, 0),
            };
            assert_eq!(
                (status.status, status.vcpu, status.bound_to, status.remote_port),
                (state.number(), slot.vcpu.into(), bound_to, Port(remote_port))
            );
            assert_eq!(
                domain.pending_bit(Port(port)),
                slot.pending,
                "{} port {port}",
                domain.channels.domain()
            );
        }
    }
}

fn step(real: &mut Real, model: &mut Model, domain: usize, call: Call) {
    let channels = &mut real.0[domain].channels;
    match call {
        Call::AllocUnbound { remote } => assert_eq!(
            channels.alloc_unbound(DomId(remote as u16)),
            model.allocate(domain, Slot { state: State::Unbound(remote), ..FREE })
        ),
        Call::AllocConsumer { remote, vcpu } => {
            let slot = Slot { state: State::Unbound(remote), vcpu, consumer: true, ..FREE };
            let expected = if vcpu < VCPUS { model.allocate(domain, slot) } else { Err(Errno::ENOENT) };
            let tag = ConsumerTag(domain as u32);
            assert_eq!(channels.alloc_consumer(VcpuId(vcpu), DomId(remote as u16), tag), expected);
        }
        Call::BindInterdomain { remote, port } => assert_eq!(
            real.bind_interdomain(domain, remote, port),
            model.bind_interdomain(domain, remote, port)
        ),
        Call::BindVirq { virq, vcpu } => {
            assert_eq!(channels.bind_virq(virq.number(), VcpuId(vcpu)), model.bind_virq(domain, virq, vcpu))
        }
        Call::BindIpi { vcpu } => {
            let slot = Slot { state: State::Ipi, vcpu, ..FREE };
            let expected = if vcpu < VCPUS { model.allocate(domain, slot) } else { Err(Errno::ENOENT) };
            assert_eq!(channels.bind_ipi(VcpuId(vcpu)), expected);
        }
        Call::BindVcpu { port, vcpu } => {
            assert_eq!(channels.bind_vcpu(Port(port), VcpuId(vcpu)), model.bind_vcpu(domain, port, vcpu))
        }
        Call::Close { port } => {
            let result = channels.close(Port(port));
            assert_eq!(result.map(drop), model.guests(domain, port).map(drop));
            if let Ok(peer) = result {
                model.close(domain, port);
                peer.into_iter().for_each(|peer| real.disconnect(peer));
            }
        }
        Call::CloseConsumer { port } => {
            let result = channels.close_consumer(Port(port));
            assert_eq!(result.is_ok(), model.slot(domain, port).is_some_and(|slot| slot.consumer));
            if let Ok(peer) = result {
                model.close(domain, port);
                peer.into_iter().for_each(|peer| real.disconnect(peer));
            }
        }
        Call::Send { port } => assert_eq!(real.send(domain, port), model.send(domain, port)),
        Call::Raise { virq, vcpu } => {
            let _ = channels.raise_virq(virq, VcpuId(vcpu));
            if let Some(port) = model.find_virq(domain, virq, vcpu) {
                model.0[domain][port].pending = true;
            }
        }
        Call::Reset => {
            for peer in run_steps(channels, EventChannels::reset_step) {
                real.disconnect(peer);
            }
            for port in 1..=MAX_PORT {
                if model.guests(domain, port).is_ok() {
                    model.close(domain, port);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ports_are_what_the_calls_made_of_them(calls in prop::collection::vec(calls(), 1..150)) {
        let domain = |number| Domain::new(number, VCPUS, MAX_PORT);
        let mut real = Real([domain(0), domain(1), domain(2)]);
        let mut model = Model([[FREE; MAX_PORT as usize + 1]; DOMAINS]);
        for (domain, call) in calls {
            step(&mut real, &mut model, domain, call);
            check(&real, &model);
        }
        // When one domain is gone, nothing is connected to it any more.
        for peer in run_steps(&mut real.0[1].channels, EventChannels::teardown_step) {
            real.disconnect(peer);
        }
        for port in 1..=MAX_PORT {
            model.close(1, port);
        }
        check(&real, &model);
    }
}
