//! What device models, and the ends of domains, do to servers.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;

use super::request::ServerId;
use super::server::{SYNC_PAGES, Server};
use super::tag::Tag;
use super::wait::end_all;
use super::{Servers, places_of};
use crate::event::{ConsumerTag, Port, SharedFrame};
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;
use xenolith_memory::intervals::{IntervalError, Intervals};

/// Ranges that one server may have: as many as under Xen.
pub const RANGES_PER_SERVER: u16 = 256;
/// Ranges that all servers of a domain may have: as many as eight of that have, which is the most under Xen.
pub const RANGES: usize = 8 * RANGES_PER_SERVER as usize;

/// The ports of a server, one for each vCPU.
pub type Ports = ArrayVec<Port, { VcpuSet::CAPACITY as usize }>;

/// The ports and frames of a server that has ended, and the vCPUs that no longer wait for it.
#[must_use]
#[derive(Debug)]
pub struct Removed<F> {
    /// Its ports, for the caller to close.
    pub ports: Ports,
    /// Its frames, for the caller to let go of.
    pub frames: ArrayVec<F, SYNC_PAGES>,
    /// vCPUs that waited for this server, and for no other, and wait no longer: let each run.
    pub released: VcpuSet,
}

impl<F: SharedFrame> Servers<F> {
    /// Makes a server for a domain, not enabled, without ranges or pages. `make_port` makes a port of the guest which
    /// waits for `owner` to connect, and whose events come here: one for each vCPU. After an error the caller closes the
    /// `ports` that were made before it.
    ///
    /// `ENOSPC`: there are [`SERVERS`](super::SERVERS) already. Others: from `make_port`.
    pub fn create(
        &mut self,
        owner: DomId,
        ports: &mut Ports,
        mut make_port: impl FnMut(VcpuId, ConsumerTag) -> Result<Port, Errno>,
    ) -> Result<ServerId, Errno> {
        let mut places = (0..).map(ServerId).zip(&mut self.places);
        let (id, place) = places.find(|(_, place)| place.is_none()).ok_or(Errno::ENOSPC)?;
        let generation = self.generation;
        // Spent at once: where ports are made for a part of the vCPUs only, they have had their mark.
        self.generation = generation.wrapping_add(1);
        for vcpu in (0..self.vcpus).map(VcpuId) {
            let port = make_port(vcpu, Tag::new(id, generation).pack())?;
            // There is room for those of all vCPUs.
            let _ = ports.try_push(port);
        }
        let own = self.ports.get_mut(places_of(id, self.vcpus)).unwrap_or_default();
        own.iter_mut().zip(&*ports).for_each(|(place, &port)| *place = port);
        *place = Some(Server {
            owner,
            generation,
            enabled: false,
            bound: VcpuSet::default(),
            lost: VcpuSet::default(),
            ranges: 0,
            pages: [const { None }; SYNC_PAGES],
        });
        self.count = self.count.saturating_add(1);
        Ok(id)
    }

    /// Ends a server: for its owner, or for the hypervisor (`None`) when the owner or the guest ends. Requests in
    /// flight fail.
    ///
    /// `ENOENT`: no such server. `EPERM`: another domain made it.
    pub fn destroy(&mut self, id: ServerId, by: Option<DomId>) -> Result<Removed<F>, Errno> {
        let place = GuestIndex::from(id.0).of_mut(&mut self.places).ok_or(Errno::ENOENT)?;
        let owner = place.as_ref().ok_or(Errno::ENOENT)?.owner;
        if by.is_some_and(|by| by != owner) {
            return Err(Errno::EPERM);
        }
        let server = place.take().ok_or(Errno::ENOENT)?;
        self.count = self.count.saturating_sub(1);
        if server.ranges != 0 {
            self.ranges.remove_all(id);
        }
        let released = end_all(&mut self.waits, id);
        #[expect(clippy::disallowed_methods, reason = "the collection has room of its own")]
        let frames = server.pages.into_iter().flatten().collect();
        let own = self.ports.get(places_of(id, self.vcpus)).unwrap_or_default();
        let ports = Ports::try_from(own).unwrap_or_default();
        Ok(Removed { ports, frames, released })
    }

    /// Ends the server with this mark, if its owner was bound to some of its vCPUs' ports and is bound to none: the
    /// program that served has ended, and nobody else would end the server.
    pub fn destroy_deserted(&mut self, tag: ConsumerTag) -> Option<(ServerId, Removed<F>)> {
        let id = self.tagged(tag)?.server;
        self.server(id).filter(|server| server.is_deserted())?;
        Some((id, self.destroy(id, None).ok()?))
    }

    /// Whether there is such a server, and this domain made it. `ENOENT`, `EPERM` as for [`destroy`](Self::destroy).
    pub fn require(&mut self, id: ServerId, by: DomId) -> Result<(), Errno> {
        self.owned(id, by).map(|_| ())
    }

    /// Lets accesses go to the server, or not. Enabling makes the pages that are missing, with frames from `alloc`, and
    /// writes the ports into the slots. Disabling leaves requests in flight as they are.
    ///
    /// `ENOENT`, `EPERM` as for [`destroy`](Self::destroy). `ENOMEM`: no memory for a page.
    pub fn set_enabled(
        &mut self,
        id: ServerId,
        by: DomId,
        enabled: bool,
        alloc: impl FnMut() -> Option<F>,
    ) -> Result<(), Errno> {
        let (server, ports) = self.owned_with_ports(id, by)?;
        if enabled {
            server.make_pages(ports, alloc)?;
            server.announce_ports(ports);
        }
        server.enabled = enabled;
        Ok(())
    }

    /// Gives the server the addresses `first..=last`.
    ///
    /// `ENOENT`, `EPERM` as for [`destroy`](Self::destroy). `EINVAL`: they end before they begin. `EEXIST`: some server
    /// of the domain has one of them. `ENOMEM`: the server has [`RANGES_PER_SERVER`] ranges, or all of them have [`RANGES`].
    pub fn map_range(&mut self, id: ServerId, by: DomId, first: u64, last: u64) -> Result<(), Errno> {
        self.change_ranges(id, by, |ranges, room| ranges.insert(first, last, id, room))
    }

    /// Takes the addresses `first..=last` from the server. Requests in flight go on.
    ///
    /// `ENOENT`, `EPERM` as for [`destroy`](Self::destroy); `ENOENT` also if not all of them are the server's.
    /// `EINVAL`: they end before they begin. `ENOMEM`: a range would become two, and that is one too many.
    pub fn unmap_range(&mut self, id: ServerId, by: DomId, first: u64, last: u64) -> Result<(), Errno> {
        self.change_ranges(id, by, |ranges, room| ranges.remove(first, last, id, room))
    }

    /// Changes the ranges, and with them how many the server has. `change` is told how many more it may make.
    fn change_ranges(
        &mut self,
        id: ServerId,
        by: DomId,
        change: impl FnOnce(&mut Intervals<ServerId>, usize) -> Result<(), IntervalError>,
    ) -> Result<(), Errno> {
        let held = usize::from(self.owned(id, by)?.ranges);
        let others = self.ranges.len().saturating_sub(held);
        let room = usize::from(RANGES_PER_SERVER).saturating_sub(held);
        let room = room.min(RANGES.saturating_sub(self.ranges.len()));
        change(&mut self.ranges, room).map_err(|error| match error {
            IntervalError::Empty => Errno::EINVAL,
            IntervalError::Overlap => Errno::EEXIST,
            IntervalError::Absent => Errno::ENOENT,
            IntervalError::Full | IntervalError::Memory => Errno::ENOMEM,
        })?;
        // At most `RANGES_PER_SERVER`.
        let held = self.ranges.len().saturating_sub(others);
        self.owned(id, by)?.ranges = u16::try_from(held).unwrap_or(RANGES_PER_SERVER);
        Ok(())
    }

    /// A frame with slots that the owner may map: 1 is the first. 0 is the page of buffered requests, which exist on x86
    /// only. A missing one is made, with a frame from `alloc`.
    ///
    /// `ENOENT`: no such server, or frame 0. `EPERM`: another domain made it. `EINVAL`: no such frame. `ENOMEM`: no memory.
    pub fn frame(
        &mut self,
        id: ServerId,
        by: DomId,
        index: u64,
        alloc: impl FnMut() -> Option<F>,
    ) -> Result<&F, Errno> {
        let (server, ports) = self.owned_with_ports(id, by)?;
        let page = index.checked_sub(1).ok_or(Errno::ENOENT)?;
        server.sync_page(usize::try_from(page).map_err(|_| Errno::EINVAL)?, ports, alloc)
    }

    /// How many frames [`frame`](Self::frame) counts, the one of buffered requests included.
    pub fn resource_frames(&self) -> u32 {
        1 + u32::from(self.vcpus).div_ceil(xenolith_abi::ioreq::SLOTS_PER_PAGE)
    }
}
