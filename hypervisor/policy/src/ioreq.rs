//! I/O requests: what a guest's access to an emulated device becomes, until a device model in another domain has
//! answered it.
//!
//! One [`Servers`] holds the ioreq servers of one domain, and its caller keeps it behind one lock. A server belongs to
//! the domain that made it; it has ranges of addresses, a page with a slot for each vCPU, and a port for each vCPU.
//! An access to a range of an [enabled](Servers::is_enabled) server goes [`post`](Servers::post), then the caller notifies
//! the port and blocks the vCPU; an event at that port goes to [`on_response`](Servers::on_response), which may end the
//! wait, and the vCPU fetches the value with [`take_result`](Servers::take_result). The caller keeps a table of its own by
//! which it finds the server of an address; what stands here is who has claimed which range.
//!
//! The owner of a server is trusted with nothing but its device. Of a slot only the state and the data are read, once
//! each; what was asked stands in our own books. Whatever the owner does (a wrong state, an event without cause, no
//! answer and a lost port, the end of the server) a wait either goes on or ends: a read then gives all ones, a write is
//! dropped. What it can make of servers and ranges has its place from the start: lists that are made with the domain, pages
//! and frames that it is promised ([`Servers::pages`]). Nothing touches hardware.

mod control;
mod forward;
mod request;
mod server;
mod slot;
mod tag;
mod wait;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::ops::Range;

use xenolith_abi::Errno;
use xenolith_abi::ioreq::SLOTS_PER_PAGE;

pub use control::{Ports, RANGES, RANGES_PER_SERVER, Removed};
pub use forward::{Outcome, Posted};
pub use request::{Request, SERVERS, ServerId};
pub use tag::is_ours;
pub use wait::Completed;

use self::server::Server;
use self::slot::SlotPlace;
use self::wait::Wait;
use crate::event::{Port, SharedFrame};
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;
use xenolith_memory::intervals::Intervals;

/// The ioreq servers of one domain. `F` keeps a shared page allocated.
pub struct Servers<F> {
    vcpus: u16,
    /// How many servers there are.
    count: u16,
    /// [`SERVERS`] places.
    places: Vec<Option<Server<F>>>,
    /// For each place a port of each vCPU, which means something while a server is there.
    ports: Vec<Port>,
    /// One for each vCPU.
    waits: Vec<Wait>,
    /// The addresses that servers have claimed.
    ranges: Intervals<ServerId>,
    /// How many servers were ever made, modulo 2^32.
    generation: u32,
}

impl<F: SharedFrame> Servers<F> {
    /// No server, for a domain with this many vCPUs, and the lists that servers need.
    ///
    /// `EINVAL`: more vCPUs than [`VcpuSet::CAPACITY`], or none. `ENOMEM`: no memory.
    pub fn new(vcpus: u16) -> Result<Self, Errno> {
        if vcpus == 0 || vcpus > VcpuSet::CAPACITY {
            return Err(Errno::EINVAL);
        }
        let ranges = Intervals::try_new(RANGES).map_err(|_| Errno::ENOMEM)?;
        let places = filled(SERVERS, || None)?;
        let ports = filled(SERVERS.saturating_mul(vcpus.into()), || Port(0))?;
        Ok(Servers {
            vcpus,
            count: 0,
            places,
            ports,
            waits: filled(vcpus.into(), || Wait::Idle)?,
            ranges,
            generation: 0,
        })
    }

    /// The most pages that the servers of a domain with so many vCPUs take of its promise: for ranges, and
    /// [frames](Self::frames).
    pub const fn pages(vcpus: u16) -> u64 {
        Intervals::<ServerId>::pages(RANGES).saturating_add(Self::frames(vcpus) as u64)
    }

    /// The most frames with slots, of those pages.
    pub const fn frames(vcpus: u16) -> u32 {
        (SERVERS as u32).saturating_mul((vcpus as u32).div_ceil(SLOTS_PER_PAGE))
    }

    /// The pages of records that it has of its promise.
    pub fn held_pages(&self) -> u64 {
        self.ranges.held_pages()
    }

    /// Gives a page of records back, of a domain that has ended and has no server. False when there is none left.
    pub fn shrink(&mut self) -> bool {
        self.ranges.shrink()
    }

    /// Whether the domain has a server. A vCPU may have a result to fetch although the server is gone.
    pub fn has_servers(&self) -> bool {
        self.count != 0
    }

    /// A server that this domain made, if there is one: at that domain's end they are destroyed one by one.
    pub fn owned_by(&self, owner: DomId) -> Option<ServerId> {
        self.iter().find(|(_, server)| server.owner == owner).map(|(id, _)| id)
    }

    /// Any server: at the guest's end they are destroyed one by one.
    pub fn any(&self) -> Option<ServerId> {
        self.iter().next().map(|(id, _)| id)
    }

    /// How many frames the servers' pages keep allocated.
    pub fn held_frames(&self) -> usize {
        self.iter().map(|(_, server)| server.held_frames()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (ServerId, &Server<F>)> {
        (0..).map(ServerId).zip(&self.places).filter_map(|(id, place)| Some((id, place.as_ref()?)))
    }

    fn server(&self, id: ServerId) -> Option<&Server<F>> {
        GuestIndex::from(id.0).of(&self.places)?.as_ref()
    }

    fn server_mut(&mut self, id: ServerId) -> Option<&mut Server<F>> {
        GuestIndex::from(id.0).of_mut(&mut self.places)?.as_mut()
    }

    /// The server, if this domain made it. `ENOENT`: no such server. `EPERM`: another domain made it.
    fn owned(&mut self, id: ServerId, by: DomId) -> Result<&mut Server<F>, Errno> {
        let server = self.server_mut(id).ok_or(Errno::ENOENT)?;
        if server.owner == by { Ok(server) } else { Err(Errno::EPERM) }
    }

    /// The server as [`owned`](Self::owned) has it, and its ports.
    fn owned_with_ports(&mut self, id: ServerId, by: DomId) -> Result<(&mut Server<F>, &[Port]), Errno> {
        self.owned(id, by)?;
        let server = GuestIndex::from(id.0).of_mut(&mut self.places).and_then(Option::as_mut);
        let ports = self.ports.get(places_of(id, self.vcpus)).unwrap_or_default();
        Ok((server.ok_or(Errno::ENOENT)?, ports))
    }

    /// The vCPU's port and slot, if the owner of the server can be asked there.
    #[inline]
    fn reachable(&self, id: ServerId, vcpu: VcpuId) -> Option<(Port, SlotPlace)> {
        let slot = self.server(id)?.reachable(vcpu)?;
        // What is not of this server is another's.
        let ports = places_of(id, self.vcpus);
        let port = GuestIndex::from(ports.start.saturating_add(vcpu.0.into())).of(&self.ports)?;
        (vcpu.0 < self.vcpus).then_some((*port, slot))
    }

    fn wait(&self, vcpu: VcpuId) -> Option<&Wait> {
        GuestIndex::from(vcpu).of(&self.waits)
    }

    fn wait_mut(&mut self, vcpu: VcpuId) -> Option<&mut Wait> {
        GuestIndex::from(vcpu).of_mut(&mut self.waits)
    }
}

/// Where a server's ports are.
#[inline(always)]
fn places_of(id: ServerId, vcpus: u16) -> Range<usize> {
    let vcpus = usize::from(vcpus);
    let start = usize::from(id.0).saturating_mul(vcpus);
    start..start.saturating_add(vcpus)
}

/// A list of so many. `ENOMEM`: no memory.
fn filled<T>(count: usize, make: impl FnMut() -> T) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    list.resize_with(count, make);
    Ok(list)
}
