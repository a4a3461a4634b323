//! Making, connecting, moving, describing and closing ports.

use xenolith_abi::Errno;
use xenolith_abi::event::{EventStatus, Status, Virq};

use super::port::Binding;
use super::{ConsumerTag, EventActions, EventChannels, Form, Link, Peer, Port, SharedFrame};
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{DomId, VcpuId};

impl<F: SharedFrame> EventChannels<F> {
    /// Makes a port to which `remote` may connect. It notifies vCPU 0.
    ///
    /// `ENOSPC`: no port left. `ENOMEM`: no memory. `EINVAL`: the domain ends.
    pub fn alloc_unbound(&mut self, remote: DomId) -> Result<Port, Errno> {
        self.allocate(Binding::Unbound(remote), VcpuId(0))
    }

    /// Makes the port of this number, to which `remote` is to be connected: a static channel, which the domain finds
    /// when it starts.
    ///
    /// `EINVAL`: port 0, or the domain ends. `ENOSPC`: the domain cannot have such a port. `EEXIST`: it is in use.
    /// `ENOMEM`: no memory.
    pub fn reserve(&mut self, port: Port, remote: DomId) -> Result<(), Errno> {
        if self.closing.is_dying() {
            return Err(Errno::EINVAL);
        }
        self.ports.take(port, self.end(), Binding::Unbound(remote))
    }

    /// Makes a port for a virtual interrupt.
    ///
    /// `EINVAL`: no such interrupt; one of the domain, on another vCPU than 0; or the domain ends. `ENOENT`: no such
    /// vCPU. `EEXIST`: it has a port already. `ENOSPC`, `ENOMEM`: as in [`alloc_unbound`](Self::alloc_unbound).
    pub fn bind_virq(&mut self, virq: u32, vcpu: VcpuId) -> Result<Port, Errno> {
        if virq >= Virq::COUNT || (!is_per_vcpu(virq) && vcpu != VcpuId(0)) {
            return Err(Errno::EINVAL);
        }
        self.check_vcpu(vcpu)?;
        if self.virq_port(virq, vcpu).is_some() {
            return Err(Errno::EEXIST);
        }
        let number = u8::try_from(virq).map_err(|_| Errno::EINVAL)?;
        let port = self.allocate(Binding::Virq(number), vcpu)?;
        if let Some(slot) = self.virq_slot(virq, vcpu) {
            *slot = port.0;
        }
        Ok(port)
    }

    /// Makes a port for signals to a vCPU of the same domain.
    ///
    /// `ENOENT`: no such vCPU. `ENOSPC`, `ENOMEM`, `EINVAL`: as in [`alloc_unbound`](Self::alloc_unbound).
    pub fn bind_ipi(&mut self, vcpu: VcpuId) -> Result<Port, Errno> {
        self.check_vcpu(vcpu)?;
        self.allocate(Binding::Ipi, vcpu)
    }

    /// Makes a port whose events go to a part of the hypervisor, which acts for `vcpu`, and to which `remote` may
    /// connect. The guest can neither use nor close it.
    ///
    /// `ENOENT`: no such vCPU. `ENOSPC`, `ENOMEM`, `EINVAL`: as in [`alloc_unbound`](Self::alloc_unbound).
    pub fn alloc_consumer(&mut self, vcpu: VcpuId, remote: DomId, tag: ConsumerTag) -> Result<Port, Errno> {
        self.check_vcpu(vcpu)?;
        let port = self.allocate(Binding::Unbound(remote), vcpu)?;
        if let Some(channel) = self.ports.get_mut(port) {
            channel.consumer = Some(tag);
        }
        Ok(port)
    }

    /// Closes a port of the guest. When there is another end, unlock, lock that domain's table, and call
    /// [`disconnect`](Self::disconnect) there.
    ///
    /// `EINVAL`: the port is not in use, or the hypervisor's own.
    pub fn close(&mut self, port: Port) -> Result<Option<Peer>, Errno> {
        self.guests(port)?;
        Ok(self.free(port))
    }

    /// Closes a port that [`alloc_consumer`](Self::alloc_consumer) made. Goes on as in [`close`](Self::close).
    ///
    /// `EINVAL`: it made no such port.
    pub fn close_consumer(&mut self, port: Port) -> Result<Option<Peer>, Errno> {
        self.ports.get(port).filter(|channel| channel.consumer.is_some()).ok_or(Errno::EINVAL)?;
        Ok(self.free(port))
    }

    /// The other end of `peer`'s connection was closed: our end waits for that domain to connect again. `peer` is
    /// what the closing domain's table returned. Does nothing when the connection no longer stands. When our end is a
    /// port of the hypervisor, returns who consumes its events, and the vCPU for which.
    pub fn disconnect(&mut self, peer: Peer) -> Option<(ConsumerTag, VcpuId)> {
        let channel = self.ports.get_mut(peer.port)?;
        let closer = channel.peer().filter(|closer| closer.link == peer.link)?;
        channel.binding = Binding::Unbound(closer.domain);
        Some((channel.consumer?, channel.vcpu))
    }

    /// The part of the hypervisor that consumes a port's events, and the vCPU for which; nothing for a guest's port.
    pub fn consumer(&self, port: Port) -> Option<(ConsumerTag, VcpuId)> {
        let channel = self.ports.get(port)?;
        Some((channel.consumer?, channel.vcpu))
    }

    /// Lets a port notify another vCPU from now on.
    ///
    /// `ENOENT`: no such vCPU. `EINVAL`: the port is not in use, is the hypervisor's own, or belongs to its vCPU (a
    /// per-vCPU virtual interrupt, a signal between vCPUs).
    pub fn bind_vcpu(&mut self, port: Port, vcpu: VcpuId) -> Result<(), Errno> {
        self.check_vcpu(vcpu)?;
        let channel = self.guests_mut(port)?;
        let moves = match channel.binding {
            Binding::Unbound(_) | Binding::Interdomain { .. } => true,
            Binding::Virq(virq) => !is_per_vcpu(virq.into()),
            Binding::Ipi | Binding::Free => false,
        };
        if !moves {
            return Err(Errno::EINVAL);
        }
        channel.vcpu = vcpu;
        Ok(())
    }

    /// Fills in what `argument.port` is; the domain in it is the caller's business.
    ///
    /// `EINVAL`: no such port. `EACCES`: it is the hypervisor's own.
    pub fn status(&self, argument: &mut Status) -> Result<(), Errno> {
        // Port 0 is nobody's.
        if argument.port == Port(0) {
            (argument.status, argument.vcpu) = (EventStatus::Closed.number(), 0);
            (argument.bound_to, argument.remote_port) = (0, Port(0));
            return Ok(());
        }
        let channel = self.ports.get(argument.port).ok_or(Errno::EINVAL)?;
        if channel.consumer.is_some() {
            return Err(Errno::EACCES);
        }
        let (status, bound_to, remote_port) = match channel.binding {
            Binding::Free => (EventStatus::Closed, 0, Port(0)),
            Binding::Unbound(remote) => (EventStatus::Unbound, remote.0.into(), Port(0)),
            Binding::Interdomain { domain, port, .. } => (EventStatus::Interdomain, domain.0.into(), port),
            Binding::Virq(virq) => (EventStatus::Virq, virq.into(), Port(0)),
            Binding::Ipi => (EventStatus::Ipi, 0, Port(0)),
        };
        argument.status = status.number();
        argument.vcpu = channel.vcpu.0.into();
        argument.bound_to = bound_to;
        argument.remote_port = remote_port;
        Ok(())
    }

    /// The port of a virtual interrupt.
    pub(super) fn virq_port(&self, virq: u32, vcpu: VcpuId) -> Option<Port> {
        let port = *GuestIndex::from(virq).of(GuestIndex::from(vcpu).of(&self.virqs)?)?;
        (port != 0).then_some(Port(port))
    }

    fn virq_slot(&mut self, virq: u32, vcpu: VcpuId) -> Option<&mut u32> {
        GuestIndex::from(virq).of_mut(GuestIndex::from(vcpu).of_mut(&mut self.virqs)?)
    }

    fn allocate(&mut self, binding: Binding, vcpu: VcpuId) -> Result<Port, Errno> {
        if self.closing.is_dying() {
            return Err(Errno::EINVAL);
        }
        let end = self.end();
        let form = &self.form;
        let queued = |port| matches!(form, Form::Fifo(fifo) if fifo.is_queued(port));
        let port = self.ports.take_lowest(end, queued, binding)?;
        if let Some(channel) = self.ports.get_mut(port) {
            channel.vcpu = vcpu;
        }
        Ok(port)
    }

    /// Frees a port, the guest's or the hypervisor's; returns the other end.
    pub(super) fn free(&mut self, port: Port) -> Option<Peer> {
        let channel = *self.ports.get(port)?;
        if let Binding::Virq(virq) = channel.binding {
            // One of the domain may notify another vCPU by now (`bind_vcpu`), but its entry stays at vCPU 0.
            let slot_vcpu = if is_per_vcpu(virq.into()) { channel.vcpu } else { VcpuId(0) };
            if let Some(slot) = self.virq_slot(virq.into(), slot_vcpu) {
                *slot = 0;
            }
        }
        // Who gets the number next must not find the old event.
        match &self.form {
            Form::TwoLevel(two_level) => two_level.clear_pending(port),
            Form::Fifo(fifo) => fifo.clear_pending(port),
        }
        self.ports.release(port);
        channel.peer()
    }

    /// Whether `by` may connect to the port. `EINVAL`: it may not.
    fn check_offered(&self, port: Port, by: DomId) -> Result<(), Errno> {
        let offered = self.ports.get(port).is_some_and(|channel| channel.binding == Binding::Unbound(by));
        if offered && !self.closing.is_dying() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn connect(&mut self, port: Port, peer: Peer) {
        if let Some(channel) = self.ports.get_mut(port) {
            channel.binding = peer.into();
        }
    }
}

/// Whether each vCPU has the interrupt for itself. A number without a name belongs to the domain.
fn is_per_vcpu(virq: u32) -> bool {
    Virq::from_number(virq).is_some_and(Virq::is_per_vcpu)
}

/// The tables of the two domains that a call is about, both locked. A domain may connect to itself.
pub enum Ends<'a, F> {
    /// Both ends are in one domain.
    Loopback(&'a mut EventChannels<F>),
    /// The ends are in two domains.
    Two {
        /// The caller's.
        local: &'a mut EventChannels<F>,
        /// The other one's.
        remote: &'a mut EventChannels<F>,
    },
}

impl<F: SharedFrame> Ends<'_, F> {
    /// Connects a new port of the local domain to a port that the remote domain made for it. The new port notifies
    /// vCPU 0 and is pending from the start, because the remote end may have sent before anyone listened.
    ///
    /// `EINVAL`: the remote port is not unbound, or meant for another domain; or a domain ends. `ENOSPC`, `ENOMEM`:
    /// no local port could be made. After an error nothing is changed.
    pub fn bind_interdomain(&mut self, remote_port: Port) -> Result<(Port, EventActions), Errno> {
        let local_domain = self.local().domain();
        self.remote().check_offered(remote_port, local_domain)?;
        // What can fail comes before the remote end is changed. Nobody can connect to a port that is meant for an
        // invalid domain.
        let local_port = self.local().allocate(Binding::Unbound(DomId::INVALID), VcpuId(0))?;
        let link = self.new_link();
        let remote_domain = self.remote().domain();
        self.remote().connect(remote_port, Peer { domain: local_domain, port: local_port, link });
        self.local().connect(local_port, Peer { domain: remote_domain, port: remote_port, link });
        let effects = self.local().set_pending(local_port);
        Ok((local_port, effects))
    }

    /// Connects two ports that the domains made for each other. Neither is pending.
    ///
    /// `EINVAL`: one of them is not unbound, or meant for another domain; or a domain ends. After an error nothing is
    /// changed.
    pub fn connect(&mut self, local_port: Port, remote_port: Port) -> Result<(), Errno> {
        let (local_domain, remote_domain) = (self.local().domain, self.remote().domain);
        self.local().check_offered(local_port, remote_domain)?;
        self.remote().check_offered(remote_port, local_domain)?;
        let link = self.new_link();
        self.remote().connect(remote_port, Peer { domain: local_domain, port: local_port, link });
        self.local().connect(local_port, Peer { domain: remote_domain, port: remote_port, link });
        Ok(())
    }

    /// A number that no connection of either domain has had. Each table goes on from the higher of both, which makes
    /// the numbers of every single table rise.
    fn new_link(&mut self) -> Link {
        let link = self.local().next_link.max(self.remote().next_link);
        self.local().next_link = link.wrapping_add(1);
        self.remote().next_link = link.wrapping_add(1);
        Link(link)
    }

    fn local(&mut self) -> &mut EventChannels<F> {
        match self {
            Ends::Loopback(table) => table,
            Ends::Two { local, .. } => local,
        }
    }

    fn remote(&mut self) -> &mut EventChannels<F> {
        match self {
            Ends::Loopback(table) => table,
            Ends::Two { remote, .. } => remote,
        }
    }
}
