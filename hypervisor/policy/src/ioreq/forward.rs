//! The way of a request: to a server, and its answer back to the vCPU.

use arrayvec::ArrayVec;
use xenolith_abi::ioreq::RequestType;

use super::Servers;
use super::request::{Request, SERVERS, ServerId};
use super::slot::{Content, Response, mask};
use super::tag::Tag;
use super::wait::{Completed, Wait, bit};
use crate::event::{ConsumerTag, Port, SharedFrame};
use xenolith_core::types::VcpuId;
use xenolith_memory::stale::StalePages;

/// What became of a request.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is in the slot. Notify this port of the guest, and block the vCPU until its wait is over.
    Notify(Port),
    /// Nobody would answer it: a read gives all ones, a write is dropped.
    Refused,
}

/// What an event led to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the vCPU waits as before, or did not wait for this.
    Nothing,
    /// The vCPU waits no longer: let it run.
    Finished,
}

impl<F: SharedFrame> Servers<F> {
    /// Whether accesses go to the server.
    #[inline]
    pub fn is_enabled(&self, id: ServerId) -> bool {
        self.server(id).is_some_and(|server| server.enabled)
    }

    /// Asks a server. Refused if there is no such server or it is not enabled, its owner has closed this vCPU's port,
    /// the vCPU waits already, or the size is none of 1, 2, 4 and 8. An earlier result that was not fetched is lost.
    pub fn post(&mut self, vcpu: VcpuId, id: ServerId, request: &Request) -> Posted {
        let Some(mask) = mask(request.size) else { return Posted::Refused };
        let Some((port, slot)) = self.reachable(id, vcpu) else {
            return Posted::Refused;
        };
        let Some(wait) = self.wait_mut(vcpu).filter(|wait| wait.is_over()) else { return Posted::Refused };
        // The mask is kept here and not read back from the slot, which the device model can write.
        *wait = Wait::Access { server: id, mask: if request.write { 0 } else { mask } };
        slot.post(&Content {
            kind: RequestType::Copy,
            address: request.address,
            data: if request.write { request.data & mask } else { 0 },
            count: 1,
            size: request.size,
            read: !request.write,
            port,
        });
        Posted::Notify(port)
    }

    /// Asks every enabled server to drop its mappings of pages that left the guest while this vCPU ran. Returns
    /// the guest's ports to notify; unless there is none, the vCPU is to be blocked until its wait is over. Does nothing
    /// for a vCPU that waits.
    pub fn post_invalidate(&mut self, vcpu: VcpuId, stale: &StalePages) -> ArrayVec<Port, SERVERS> {
        let mut ports = ArrayVec::new();
        if !self.has_servers() || !self.wait(vcpu).is_some_and(|wait| wait.is_over()) {
            return ports;
        }
        let mut servers = 0;
        for (id, _) in self.iter() {
            let Some((port, slot)) = self.reachable(id, vcpu) else { continue };
            slot.post(&Content {
                kind: RequestType::Invalidate,
                address: stale.address(),
                data: stale.data(),
                count: stale.count(),
                size: 4,
                read: false,
                port,
            });
            servers |= bit(id);
            ports.push(port);
        }
        if servers != 0
            && let Some(wait) = self.wait_mut(vcpu)
        {
            *wait = Wait::Invalidate { servers };
        }
        ports
    }

    /// The owner has sent an event to a port with this mark. The vCPU's slot is looked at if it waits for this server:
    /// an answer ends the request, a state that no sound device model leaves there fails it, and a slot that is still
    /// being worked on changes nothing.
    pub fn on_response(&mut self, tag: ConsumerTag, vcpu: VcpuId) -> Outcome {
        let Some(id) = self.tagged(tag).map(|tag| tag.server) else { return Outcome::Nothing };
        if !self.wait(vcpu).is_some_and(|wait| wait.is_for(id)) {
            return Outcome::Nothing;
        }
        let Some(slot) = self.server(id).and_then(|server| server.slot(vcpu)) else {
            return Outcome::Nothing;
        };
        match slot.take() {
            Response::Pending => Outcome::Nothing,
            Response::Ready(data) => self.end(vcpu, id, Some(data)),
            Response::Malformed => self.end(vcpu, id, None),
        }
    }

    /// The owner has closed its end of a port with this mark, or has died. The vCPU's request fails if it is this
    /// server's, and the server is not asked again for this vCPU until the port is
    /// [bound](Self::on_peer_bound).
    pub fn on_peer_closed(&mut self, tag: ConsumerTag, vcpu: VcpuId) -> Outcome {
        let Some(id) = self.tagged(tag).map(|tag| tag.server) else { return Outcome::Nothing };
        let Some(server) = self.server_mut(id) else { return Outcome::Nothing };
        server.bound.remove(vcpu);
        server.lost.insert(vcpu);
        // The program that binds the port next must not find a request that has failed here, and carry out a write that
        // the guest was told is dropped.
        if let Some(slot) = server.slot(vcpu) {
            slot.empty();
        }
        self.end(vcpu, id, None)
    }

    /// The owner has bound a port with this mark. A server whose port was never bound is asked, and the vCPU waits: the
    /// owner finds the event when it binds. One whose port was closed is asked again from now on.
    pub fn on_peer_bound(&mut self, tag: ConsumerTag, vcpu: VcpuId) {
        let Some(id) = self.tagged(tag).map(|tag| tag.server) else { return };
        let Some(server) = self.server_mut(id) else { return };
        server.lost.remove(vcpu);
        server.bound.insert(vcpu);
    }

    /// Whether the vCPU must not run until a server has answered.
    pub fn is_waiting(&self, vcpu: VcpuId) -> bool {
        self.wait(vcpu).is_some_and(|wait| !wait.is_over())
    }

    /// How the vCPU's access ended. Nothing if it is still in flight, if the result was fetched already, and after an
    /// invalidation, which has no result.
    pub fn take_result(&mut self, vcpu: VcpuId) -> Option<Completed> {
        let wait = self.wait_mut(vcpu)?;
        let Wait::Done(completed) = *wait else { return None };
        *wait = Wait::Idle;
        Some(completed)
    }

    /// The server that the mark was made for, if it still exists.
    #[inline]
    pub(super) fn tagged(&self, tag: ConsumerTag) -> Option<Tag> {
        let tag = Tag::unpack(tag)?;
        self.server(tag.server).filter(|server| tag.is_of(server.generation)).map(|_| tag)
    }

    fn end(&mut self, vcpu: VcpuId, id: ServerId, answer: Option<u64>) -> Outcome {
        let over = self.wait_mut(vcpu).is_some_and(|wait| wait.end(id, answer));
        if over { Outcome::Finished } else { Outcome::Nothing }
    }
}
