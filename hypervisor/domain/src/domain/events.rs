//! Event channels between domains: which tables a call needs, and what follows from an event for vCPUs.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;

use crate::hypervisor::Hypervisor;
use xenolith_core::types::{DomId, Gfn, VcpuId};
use xenolith_memory::frames::FrameRef;
use xenolith_policy::event::{Closing, Delivery, Ends, EventActions, Peer, Port, vcpu_info_fits};

use super::{Domain, DomainRef};

impl Domain {
    /// Connects two ports that this domain and another have reserved for each other.
    pub fn connect_ports(&self, port: Port, remote: &Domain, remote_port: Port) -> Result<(), Errno> {
        self.with_ends(remote, |mut ends| ends.connect(port, remote_port))
    }

    /// Locks both tables, that of the domain with the lower number first, so that two calls never wait for each other.
    fn with_ends<T>(&self, remote: &Domain, work: impl FnOnce(Ends<'_, FrameRef>) -> T) -> T {
        if self.id == remote.id {
            return work(Ends::Loopback(&mut self.events.lock()));
        }
        if self.id < remote.id {
            let mut own = self.events.lock();
            let mut other = remote.events.lock();
            work(Ends::Two { local: &mut own, remote: &mut other })
        } else {
            let mut other = remote.events.lock();
            let mut own = self.events.lock();
            work(Ends::Two { local: &mut own, remote: &mut other })
        }
    }
}

impl DomainRef<'_> {
    /// Carries out what follows from events. The domain's event lock is not held.
    #[inline]
    pub fn follow_events(self, effects: EventActions) {
        for id in effects.notify.iter() {
            self.raise_event(id);
        }
        for id in effects.wake.iter() {
            if let Some(vcpu) = self.vcpu(id) {
                self.hv.wake(vcpu.unit);
            }
        }
    }

    /// Sends the event of a port.
    #[inline]
    pub fn send_event(self, port: Port) -> Result<(), Errno> {
        use xenolith_policy::event::Sent;
        // The table is unlocked before the other domain's is locked, whose number may be lower. Whether the connection
        // still stands by then, its number says (`Peer`).
        let sent = self.events.lock().send(port)?;
        match sent {
            Sent::Nowhere => (),
            Sent::Here(effects) => self.follow_events(effects),
            Sent::To(peer) => self.hv.deliver_event(peer),
        }
        Ok(())
    }

    /// Signals through a port of the hypervisor. A port to which nobody has connected is found pending when somebody does.
    #[inline]
    pub(crate) fn notify_peer(self, port: Port) {
        let peer = self.events.lock().consumer_peer(port);
        if let Some(peer) = peer {
            self.hv.deliver_event(peer);
        }
    }

    /// Connects a new port to one that another domain offers.
    pub fn bind_interdomain(self, remote: &Domain, port: Port) -> Result<Port, Errno> {
        let (local_port, effects) = self.with_ends(remote, |mut ends| ends.bind_interdomain(port))?;
        self.follow_events(effects);
        // Both tables are free again: what a server or a UART does about a new connection takes its own lock first, and
        // looks at the port once more under it.
        let consumer = remote.events.lock().consumer(port);
        if let Some((tag, vcpu)) = consumer {
            remote.on(self.hv).consumer_changed(tag, vcpu, port);
        }
        Ok(local_port)
    }

    /// Closes a port; the other end, if there is one, waits for a new connection.
    pub fn close_port(self, port: Port) -> Result<(), Errno> {
        // The port is free, and may be used again, before the other end hears of it: a connection has a number of its
        // own, by which the other end knows whether it was this one.
        let peer = self.events.lock().close(port)?;
        if let Some(peer) = peer {
            self.hv.disconnect_event(peer);
        }
        Ok(())
    }

    /// Closes ports until none is left or the budget is used up; true when none is left.
    pub fn reset_events(self, mut budget: u32) -> bool {
        loop {
            let step = self.events.lock().reset_step(&mut budget);
            match step {
                Closing::Disconnect(peer) => self.hv.disconnect_event(peer),
                Closing::Release(frame) => self.hv.put_frame(frame),
                Closing::Again => return false,
                Closing::Done => return true,
            }
        }
    }

    /// Moves a vCPU's event words to memory of the guest's choice.
    pub fn register_vcpu_info(self, id: VcpuId, gfn: Gfn, offset: u32) -> Result<(), Errno> {
        if !vcpu_info_fits(offset) {
            return Err(Errno::ENXIO);
        }
        let frame = self.get_frame(gfn)?;
        // A statement of its own: a frame that is refused must not be given back under the table's lock.
        let registered = self.events.lock().register_vcpu_info(id, frame, offset);
        self.settle(registered)
    }

    /// Gives a vCPU its queues of the FIFO form.
    pub fn init_event_control(self, id: VcpuId, gfn: Gfn, offset: u32) -> Result<(), Errno> {
        let frame = self.get_frame(gfn)?;
        let done = self.events.lock().init_control(id, frame, offset);
        self.settle(done.map(|()| EventActions::default()))
    }

    /// Adds a page of event words of the FIFO form.
    pub fn expand_event_array(self, gfn: Gfn) -> Result<(), Errno> {
        let frame = self.get_frame(gfn)?;
        let done = self.events.lock().expand_array(frame);
        self.settle(done)
    }

    /// Follows the effects, or gives back the frame that was refused.
    fn settle(
        self,
        done: Result<EventActions, xenolith_policy::event::Refused<FrameRef>>,
    ) -> Result<(), Errno> {
        match done {
            Ok(effects) => {
                self.follow_events(effects);
                Ok(())
            }
            Err(refused) => {
                self.hv.put_frame(refused.frame);
                Err(refused.errno)
            }
        }
    }

    /// Ends a vCPU's poll for another reason than an event: its time is up, or an interrupt waits.
    pub fn end_poll(self, id: VcpuId) {
        self.events.lock().stop_polling(id);
        if let Some(vcpu) = self.vcpu(id) {
            self.hv.wake(vcpu.unit);
        }
    }
}

impl Hypervisor {
    /// Delivers an event at the other end of a connection.
    #[inline]
    pub fn deliver_event(&self, peer: Peer) {
        let Some(domain) = self.domain(peer.domain) else { return };
        // Nothing of ours is locked. The port may have been closed and opened again since: then the connection's number
        // does not fit, and nothing happens.
        let delivery = domain.events.lock().deliver(peer);
        match delivery {
            Delivery::Guest(effects) => domain.on(self).follow_events(effects),
            Delivery::Consumer(tag, vcpu) => domain.on(self).consumer_event(tag, vcpu),
        }
    }

    /// Tells the other end that a connection is gone.
    pub fn disconnect_event(&self, peer: Peer) {
        let Some(domain) = self.domain(peer.domain) else { return };
        let consumer = domain.events.lock().disconnect(peer);
        if let Some((tag, vcpu)) = consumer {
            domain.on(self).consumer_changed(tag, vcpu, peer.port);
        }
    }

    /// Raises a virtual interrupt of the whole machine: it goes to the control domain.
    pub fn raise_global_virq(&self, virq: Virq) {
        self.raise_virq_of(DomId::CONTROL, virq);
    }

    /// Raises a virtual interrupt of one domain, which is not of a single vCPU.
    pub fn raise_virq_of(&self, id: DomId, virq: Virq) {
        if let Some(domain) = self.domain(id) {
            // A VIRQ that is not of a single vCPU is allocated on vCPU 0, wherever it is bound later (Xen's
            // event_channel.h, EVTCHNOP_bind_virq).
            let effects = domain.events.lock().raise_virq(virq, VcpuId(0));
            domain.on(self).follow_events(effects);
        }
    }
}
