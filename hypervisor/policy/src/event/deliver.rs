//! Sending: from a port, a virtual interrupt or the hypervisor to the vCPU that a port notifies.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::sched::POLL_PORTS;

use super::port::Binding;
use super::{Delivery, EventActions, EventChannels, Form, Peer, Port, Raised, Sent, SharedFrame, barrier};
use xenolith_core::types::VcpuId;
use xenolith_memory::page::Contended;

impl<F: SharedFrame> EventChannels<F> {
    /// A guest signals through a port.
    ///
    /// `EINVAL`: the port is not in use, is bound to a virtual interrupt, or is the hypervisor's own.
    pub fn send(&mut self, port: Port) -> Result<Sent, Errno> {
        match self.guests(port)?.binding {
            Binding::Interdomain { domain, port, link } => Ok(Sent::To(Peer { domain, port, link })),
            Binding::Ipi => Ok(Sent::Here(self.set_pending(port))),
            Binding::Unbound(_) => Ok(Sent::Nowhere),
            Binding::Virq(_) | Binding::Free => Err(Errno::EINVAL),
        }
    }

    /// The other end of a port that [`alloc_consumer`](Self::alloc_consumer) made: where the hypervisor's own signal
    /// is to be delivered. Nothing when no domain has connected.
    #[inline]
    pub fn consumer_peer(&self, port: Port) -> Option<Peer> {
        self.ports.get(port).filter(|channel| channel.consumer.is_some())?.peer()
    }

    /// An event arrives at our end of a connection. `peer` is what the sender's table returned. The event is lost
    /// when the connection no longer stands.
    pub fn deliver(&mut self, peer: Peer) -> Delivery {
        let nothing = Delivery::Guest(EventActions::default());
        let Some(channel) = self.ports.get(peer.port) else { return nothing };
        // No lock was held since the sender's table named this end: the port may have been closed, and given out anew.
        if channel.peer().is_none_or(|sender| sender.link != peer.link) {
            return nothing;
        }
        match channel.consumer {
            Some(tag) => Delivery::Consumer(tag, channel.vcpu),
            None => Delivery::Guest(self.set_pending(peer.port)),
        }
    }

    /// A virtual interrupt happened. `vcpu` counts for those which each vCPU has for itself. Nothing follows when the
    /// interrupt has no port.
    pub fn raise_virq(&mut self, virq: Virq, vcpu: VcpuId) -> EventActions {
        let vcpu = if virq.is_per_vcpu() { vcpu } else { VcpuId(0) };
        match self.virq_port(virq.number(), vcpu) {
            Some(port) => self.set_pending(port),
            None => EventActions::default(),
        }
    }

    /// A guest unmasks a port and gets what is pending. `EINVAL`: no such port.
    pub fn unmask(&mut self, port: Port) -> Result<EventActions, Errno> {
        let channel = self.ports.get_mut(port).ok_or(Errno::EINVAL)?;
        if !channel.is_guests() || self.closing.is_dying() {
            return Ok(EventActions::default());
        }
        let vcpu = channel.vcpu;
        let raised = match &mut self.form {
            Form::TwoLevel(two_level) => two_level.unmask(&self.infos, port, vcpu),
            Form::Fifo(fifo) => fifo.unmask(port, vcpu, &mut channel.fifo),
        };
        Ok(self.follow(port, vcpu, raised))
    }

    /// A vCPU is about to wait until one of the ports is pending. True: one is, and the vCPU does not wait. False:
    /// it waits, until it is named in [`EventActions::wake`] or [`stop_polling`](Self::stop_polling) is called for it.
    ///
    /// `EINVAL`: no such port, or more than 128 ports. `ENOENT`: no such vCPU.
    pub fn poll(&mut self, vcpu: VcpuId, ports: &[Port]) -> Result<bool, Errno> {
        self.check_vcpu(vcpu)?;
        if ports.len() > POLL_PORTS as usize {
            return Err(Errno::EINVAL);
        }
        for &port in ports {
            if self.is_pending(port)? {
                return Ok(true);
            }
        }
        // No event can have come since the look: it needs the table, which the caller has locked.
        self.pollers.wait(vcpu, ports)?;
        Ok(false)
    }

    /// A vCPU waits no longer: its time is up, or an interrupt woke it.
    pub fn stop_polling(&mut self, vcpu: VcpuId) {
        self.pollers.stop(vcpu);
    }

    /// Whether an event waits for the guest at this port. `EINVAL`: no such port.
    fn is_pending(&self, port: Port) -> Result<bool, Errno> {
        let channel = self.ports.get(port).ok_or(Errno::EINVAL)?;
        Ok(match &self.form {
            Form::TwoLevel(two_level) => two_level.is_pending(port),
            Form::Fifo(fifo) => fifo.is_pending(port, &channel.fifo),
        })
    }

    /// An event happened at a port: the one way by which events reach a guest.
    pub(super) fn set_pending(&mut self, port: Port) -> EventActions {
        if self.closing.is_dying() {
            return EventActions::default();
        }
        let Some(channel) = self.ports.get_mut(port) else { return EventActions::default() };
        let vcpu = channel.vcpu;
        let raised = match &mut self.form {
            Form::TwoLevel(two_level) => two_level.set_pending(&self.infos, port, vcpu),
            Form::Fifo(fifo) => fifo.set_pending(port, vcpu, &mut channel.fifo),
        };
        self.follow(port, vcpu, raised)
    }

    /// What follows from a port's new state. A guest that fought over its words loses the event.
    fn follow(&mut self, port: Port, vcpu: VcpuId, raised: Result<Raised, Contended>) -> EventActions {
        let raised = raised.unwrap_or(Raised::NOTHING);
        let mut effects = EventActions::default();
        if raised.announced {
            // The bits are to be seen before `evtchn_upcall_pending`, which is not written if it is set already.
            barrier();
            if self.infos.raise(vcpu) == Ok(true) {
                effects.notify.insert(vcpu);
            }
        }
        // Also for a masked port: who polls waits for the pending bit, and masks the port so as to get no upcall.
        if raised.became_pending {
            effects.wake = self.pollers.wake(port);
        }
        effects
    }
}
