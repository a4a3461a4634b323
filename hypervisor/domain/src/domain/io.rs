//! A domain's accesses to devices that another domain emulates: where the ioreq core meets event channels, the scheduler
//! and the frame table.
//!
//! A vCPU that asks is paused before its question can be seen, and resumed by whatever ends its wait: an answer, the loss
//! of the device model's port, or the end of the server.

use core::sync::atomic::Ordering;

use xenolith_abi::Errno;

use xenolith_arch as arch;
use xenolith_core::bug;
use xenolith_core::sync::RwLockReadGuard;
use xenolith_core::types::{DomId, Ipa, Mfn, VcpuId};
use xenolith_memory::frames::FrameRef;
use xenolith_memory::stale::StalePages;
use xenolith_policy::event::{ConsumerTag, Port};
use xenolith_policy::ioreq::{Outcome, Ports, Posted, Removed, Request, ServerId, Servers};
use xenolith_vdev::address_table::AddressTable;

use super::{Domain, DomainRef};
use crate::parts::io_state::IoState;
use crate::parts::memory::frame_error;

impl Domain {
    /// What the device model has answered to a vCPU's access, once. Nothing if it waited for no access.
    #[inline]
    pub fn take_answer(&self, id: VcpuId) -> Option<u64> {
        self.io.servers.lock().take_result(id).map(|result| result.data)
    }

    /// Whether a server is there and is this domain's. Errors: those of `Servers::require`.
    pub fn require_server(&self, server: ServerId, by: DomId) -> Result<(), Errno> {
        self.io.servers.lock().require(server, by)
    }

    /// Gives device addresses `first..=last` to a server. Errors: those of `Servers::map_range`.
    pub fn map_range(&self, server: ServerId, by: DomId, first: u64, last: u64) -> Result<(), Errno> {
        let mut addresses = self.addresses.change();
        // Room first: both are changed, or neither.
        addresses.reserve(first, last)?;
        self.io.servers.lock().map_range(server, by, first, last)?;
        addresses.claim(first, last, server)
    }

    /// Takes them back. Errors: those of `Servers::unmap_range`.
    pub fn unmap_range(&self, server: ServerId, by: DomId, first: u64, last: u64) -> Result<(), Errno> {
        let mut addresses = self.addresses.change();
        addresses.reserve(first, last)?;
        self.io.servers.lock().unmap_range(server, by, first, last)?;
        addresses.unclaim(first, last)
    }

    /// The frames of one server that its device model may map, by number from 0.
    pub fn server_resource_size(&self) -> u32 {
        self.io.servers.lock().resource_frames()
    }
}

impl DomainRef<'_> {
    /// Asks the ioreq server that has claimed the addresses from `at` to `last`, of which the access may reach beyond.
    /// `write` is what the guest stores. The table of addresses is locked until the servers are: meanwhile no other server
    /// can get the number of this one.
    // What an access is takes as many words.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    pub(super) fn forward(
        self,
        id: VcpuId,
        server: ServerId,
        at: Ipa,
        size: u8,
        write: Option<u64>,
        last: Ipa,
        table: RwLockReadGuard<'_, AddressTable>,
    ) -> IoState {
        // As in Xen, a server gets an access only if it has claimed all of its bytes.
        let end = at.0.checked_add(u64::from(size).saturating_sub(1));
        let (Some(vcpu), true) = (self.vcpu(id), end.is_some_and(|end| end <= last.0)) else {
            return IoState::Unhandled;
        };
        let mut servers = self.io.servers.lock();
        // Not before: without either lock another server could come by this one's number.
        drop(table);
        // As in Xen, a server that was not enabled yet is not asked, and nobody waits for it.
        if !servers.is_enabled(server) {
            return IoState::Unhandled;
        }
        let request =
            Request { address: at.0, size, write: write.is_some(), data: write.unwrap_or_default() };
        // The answer may come as soon as the question is out. No kick: the vCPU runs on this CPU.
        let _ = self.hv.scheduler.pause(vcpu.unit, arch::now());
        let posted = servers.post(id, server, &request);
        drop(servers);
        match posted {
            Posted::Notify(port) => {
                self.notify_peer(port);
                IoState::Pending
            }
            Posted::Refused => {
                self.hv.kick(self.hv.scheduler.resume(vcpu.unit, arch::now()));
                IoState::Dropped
            }
        }
    }

    /// Pages left the domain's memory by a call of this vCPU, which runs on the calling CPU: it waits until every device
    /// model has dropped its mappings of them. True if it has to wait.
    pub fn invalidate_mappings(self, id: VcpuId, stale: &StalePages) -> bool {
        // A domain without servers pays one load.
        if !self.io.any.load(Ordering::Acquire) {
            return false;
        }
        let Some(vcpu) = self.vcpu(id) else { return false };
        let mut servers = self.io.servers.lock();
        let _ = self.hv.scheduler.pause(vcpu.unit, arch::now());
        // IOREQ_TYPE_INVALIDATE (Xen's ioreq.h) to each of them.
        let ports = servers.post_invalidate(id, stale);
        drop(servers);
        if ports.is_empty() {
            self.hv.kick(self.hv.scheduler.resume(vcpu.unit, arch::now()));
            return false;
        }
        for port in ports {
            self.notify_peer(port);
        }
        true
    }

    /// A device model has sent an event for this vCPU.
    #[inline]
    pub fn device_model_event(self, tag: ConsumerTag, id: VcpuId) {
        let outcome = self.io.servers.lock().on_response(tag, id);
        self.follow_outcome(id, outcome);
    }

    /// A device model has connected to this vCPU's port, or has closed its end, or has died. Which of these is asked of the
    /// port under the lock of the servers: word of what was done to it may come in another order. A server that has lost
    /// all ports to which it was bound is one that nobody will ever end: it ends here.
    pub fn device_model_changed(self, tag: ConsumerTag, id: VcpuId, port: Port) {
        let (outcome, deserted) = {
            let mut addresses = self.addresses.change();
            let mut servers = self.io.servers.lock();
            if self.events.lock().consumer_peer(port).is_some() {
                return servers.on_peer_bound(tag, id);
            }
            // Still under the lock of the look at the port: who binds it from here on is heard of after this.
            let lost = (servers.on_peer_closed(tag, id), servers.destroy_deserted(tag));
            if let Some((server, _)) = &lost.1 {
                addresses.remove_server(*server);
            }
            self.io.any.store(servers.has_servers(), Ordering::Release);
            lost
        };
        self.follow_outcome(id, outcome);
        if let Some((server, removed)) = deserted {
            self.warn_ratelimited(format_args!("{server} ends, because its device model is gone"));
            self.clear_up(removed);
        }
    }

    #[inline]
    fn follow_outcome(self, id: VcpuId, outcome: Outcome) {
        if outcome == Outcome::Finished {
            self.end_wait(id);
        }
    }

    #[inline]
    fn end_wait(self, id: VcpuId) {
        if let Some(vcpu) = self.vcpu(id) {
            vcpu.mark_answered();
            self.hv.kick(self.hv.scheduler.resume(vcpu.unit, arch::now()));
        }
    }

    /// Makes an ioreq server for `owner`. Errors: those of `Servers::create`; `ESRCH`: the domain is dying; `EPERM`:
    /// `owner` is not its device model.
    pub fn create_server(self, owner: &Domain) -> Result<ServerId, Errno> {
        let mut servers = self.io.servers.lock();
        // Both asked under the lock: what ends servers comes by here after that.
        if self.is_dying() {
            return Err(Errno::ESRCH);
        }
        if !self.has_device_model(owner) {
            return Err(Errno::EPERM);
        }
        let owner = owner.id;
        let mut ports = Ports::new();
        let make_port = |vcpu, tag| self.events.lock().alloc_consumer(vcpu, owner, tag);
        let made = servers.create(owner, &mut ports, make_port);
        self.io.any.store(servers.has_servers(), Ordering::Release);
        drop(servers);
        // Closing a port tells its other end, in another domain: without the lock.
        made.inspect_err(|_| self.close_consumers(&ports))
    }

    /// Ends a server; nobody waits for it any more. Errors: those of `Servers::destroy`.
    pub fn destroy_server(self, server: ServerId, by: Option<DomId>) -> Result<(), Errno> {
        let removed = {
            let mut addresses = self.addresses.change();
            let mut servers = self.io.servers.lock();
            let removed = servers.destroy(server, by)?;
            addresses.remove_server(server);
            self.io.any.store(servers.has_servers(), Ordering::Release);
            removed
        };
        self.clear_up(removed);
        Ok(())
    }

    /// Lets go of everything that a server held.
    fn clear_up(self, removed: Removed<FrameRef>) {
        let Removed { ports, frames, released } = removed;
        for id in released.iter() {
            self.end_wait(id);
        }
        self.close_consumers(&ports);
        for frame in frames {
            self.hv.put_frame(frame);
        }
    }

    fn close_consumers(self, ports: &[Port]) {
        for &port in ports {
            let closed = self.events.lock().close_consumer(port);
            if let Ok(Some(peer)) = closed {
                self.hv.disconnect_event(peer);
            }
        }
    }

    /// Ends one of the servers that a domain has here. Whether there was one: then this is to be done again, after a look for
    /// interrupts, because the end of each takes long where there are many ranges and ports.
    #[must_use]
    pub fn end_server_of(self, owner: DomId) -> bool {
        self.end_one(|servers| servers.owned_by(owner))
    }

    /// The same, whosever server it is.
    #[must_use]
    pub fn end_server(self) -> bool {
        self.end_one(Servers::any)
    }

    fn end_one(self, next: impl Fn(&Servers<FrameRef>) -> Option<ServerId>) -> bool {
        let server = next(&self.io.servers.lock());
        // It ends here, or another CPU has just done so.
        server.map(|server| self.destroy_server(server, None)).is_some()
    }

    /// A zeroed frame with slots, of those that the domain was promised for its servers. It is held by what is returned alone.
    fn new_server_frame(self) -> Option<FrameRef> {
        // A device model that keeps pages of servers that have ended has no others instead.
        if !self.io.count_frame() {
            return None;
        }
        let Some(mfn) = self.hv.frames.lend_promised(self.id) else {
            bug!("{}: a frame for its ioreq server was promised and is not there", self.id);
            self.io.frame_gone();
            return None;
        };
        self.share_frame(mfn)
    }

    /// Lets accesses go to a server, or not. Errors: those of `Servers::set_enabled`.
    pub fn enable_server(self, server: ServerId, by: DomId, enabled: bool) -> Result<(), Errno> {
        self.io.servers.lock().set_enabled(server, by, enabled, || self.new_server_frame())
    }

    /// Takes a reference to a frame of a server, for its owner `by` to map. Errors: those of `Servers::frame`.
    pub fn lend_server_frame(self, server: ServerId, by: DomId, index: u64) -> Result<Mfn, Errno> {
        let mut servers = self.io.servers.lock();
        // The server keeps its frame as long as it is locked; from then on the reference does.
        let frame = servers.frame(server, by, index, || self.new_server_frame())?;
        self.hv.frames.reference(frame.mfn(), self.id).map_err(frame_error)?;
        Ok(frame.mfn())
    }
}
