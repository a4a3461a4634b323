//! What device models, and the ends of domains, do to servers.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use xenolith_abi::Errno;
use xenolith_abi::ioreq::SLOTS_PER_PAGE;

use super::buffered::{Buffering, Ring};
use super::ranges::Ranges;
use super::server::{SYNC_PAGES, Server};
use super::tag::Tag;
use super::wait::{Wait, end_all};
use super::{SERVERS, ServerId, Servers, Space, place};
use crate::event::{ConsumerTag, Port, SharedFrame, VcpuSet};
use xenolith_core::types::{DomId, VcpuId};

/// Resource frames of one server: the ring, and the pages with slots.
pub const FRAMES: usize = 1 + SYNC_PAGES;

/// A server that could not be made.
#[derive(Debug)]
pub struct CreateError {
    /// Why.
    pub errno: Errno,
    /// Ports that were made before that, for the caller to close.
    pub ports: Vec<Port>,
}

impl From<Errno> for CreateError {
    fn from(errno: Errno) -> Self {
        CreateError { errno, ports: Vec::new() }
    }
}

/// What is left of a server.
#[must_use]
#[derive(Debug)]
pub struct Removed<F> {
    /// Its ports, for the caller to close.
    pub ports: Vec<Port>,
    /// Its frames, for the caller to let go of.
    pub frames: ArrayVec<F, FRAMES>,
    /// vCPUs that waited for this server, and for no other, and wait no longer: let each run.
    pub released: VcpuSet,
}

/// What an owner may ask about its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Whether accesses go to it.
    pub enabled: bool,
    /// The guest's port for buffered requests, if it has a ring.
    pub buffered_port: Option<Port>,
}

impl<F: SharedFrame> Servers<F> {
    /// Makes a server for a domain, not enabled, without ranges or pages. `make_port` makes a port of the guest which
    /// waits for `owner` to connect, and whose events come here: one for each vCPU, then one for the ring.
    ///
    /// `ENOSPC`: there are [`SERVERS`] already. `ENOMEM`: no memory. Others: from `make_port`.
    pub fn create(
        &mut self,
        owner: DomId,
        buffering: Option<Buffering>,
        mut make_port: impl FnMut(VcpuId, ConsumerTag) -> Result<Port, Errno>,
    ) -> Result<ServerId, CreateError> {
        self.make_room()?;
        let id = (0..).map(ServerId).zip(&self.places).find(|(_, place)| place.is_none());
        let (id, _) = id.ok_or(Errno::ENOSPC)?;
        let generation = self.generation;
        let mut ports = Vec::new();
        let count = usize::from(self.vcpus) + usize::from(buffering.is_some());
        ports.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        let wanted = (0..self.vcpus).map(|vcpu| (VcpuId(vcpu), false));
        for (vcpu, buffered) in wanted.chain(buffering.map(|_| (VcpuId(0), true))) {
            match make_port(vcpu, Tag::new(id, generation, buffered).pack()) {
                Ok(port) => ports.push(port),
                Err(errno) => return Err(CreateError { errno, ports }),
            }
        }
        if let Some(place) = place(id).and_then(|index| self.places.get_mut(index)) {
            *place = Some(Server {
                owner,
                generation,
                enabled: false,
                ports,
                bound: VcpuSet::default(),
                lost: VcpuSet::default(),
                ranges: 0,
                pages: [const { None }; SYNC_PAGES],
                ring: buffering.map(Ring::new),
            });
            self.count += 1;
        }
        self.generation = generation.wrapping_add(1);
        Ok(id)
    }

    /// The lists that every server needs. `ENOMEM`: no memory.
    fn make_room(&mut self) -> Result<(), Errno> {
        if self.places.is_empty() {
            let vcpus = usize::from(self.vcpus);
            self.waits.try_reserve_exact(vcpus).map_err(|_| Errno::ENOMEM)?;
            self.places.try_reserve_exact(SERVERS).map_err(|_| Errno::ENOMEM)?;
            self.waits.resize(vcpus, Wait::Idle);
            self.places.resize_with(SERVERS, || None);
        }
        Ok(())
    }

    /// Ends a server: for its owner, or for the hypervisor (`None`) when the owner or the guest ends. Requests in
    /// flight fail.
    ///
    /// `ENOENT`: no such server. `EPERM`: another domain made it.
    pub fn destroy(&mut self, id: ServerId, by: Option<DomId>) -> Result<Removed<F>, Errno> {
        let place = self.places.get_mut(place(id).ok_or(Errno::ENOENT)?).ok_or(Errno::ENOENT)?;
        let owner = place.as_ref().ok_or(Errno::ENOENT)?.owner;
        if by.is_some_and(|by| by != owner) {
            return Err(Errno::EPERM);
        }
        let server = place.take().ok_or(Errno::ENOENT)?;
        self.count = self.count.saturating_sub(1);
        if server.ranges != 0 {
            self.ranges.iter_mut().for_each(|ranges| ranges.remove_server(id));
        }
        let released = end_all(&mut self.waits, id);
        let ring = server.ring.and_then(|ring| ring.frame);
        let frames = ring.into_iter().chain(server.pages.into_iter().flatten()).collect();
        Ok(Removed { ports: server.ports, frames, released })
    }

    /// Ends the server with this mark, if its owner was bound to some of its vCPUs' ports and is bound to none: the
    /// program that served has ended, and nobody else would end the server.
    pub fn destroy_deserted(&mut self, tag: ConsumerTag) -> Option<(ServerId, Removed<F>)> {
        let id = self.tagged(tag)?.server;
        self.server(id).filter(|server| server.is_deserted())?;
        Some((id, self.destroy(id, None).ok()?))
    }

    /// What the owner may know. `ENOENT`, `EPERM` as for [`destroy`](Self::destroy).
    pub fn info(&mut self, id: ServerId, by: DomId) -> Result<Info, Errno> {
        let vcpus = usize::from(self.vcpus);
        let server = self.owned(id, by)?;
        Ok(Info { enabled: server.enabled, buffered_port: server.ports.get(vcpus).copied() })
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
        let vcpus = self.vcpus;
        let server = self.owned(id, by)?;
        if enabled {
            server.make_pages(vcpus, alloc)?;
            server.announce_ports(vcpus);
        }
        server.enabled = enabled;
        Ok(())
    }

    /// Gives the server the addresses `first..=last`.
    ///
    /// `ENOENT`, `EPERM` as for [`destroy`](Self::destroy). `EINVAL`: they end before they begin. `EEXIST`: some server
    /// of the domain has one of them. `ENOMEM`: the server has [`RANGES_PER_SERVER`](super::RANGES_PER_SERVER) ranges,
    /// or there is no memory.
    pub fn map_range(
        &mut self,
        id: ServerId,
        by: DomId,
        space: Space,
        first: u64,
        last: u64,
    ) -> Result<(), Errno> {
        self.change_ranges(id, by, space, |ranges, held| ranges.map(id, first, last, held))
    }

    /// Takes the addresses `first..=last` from the server. Requests in flight go on.
    ///
    /// `ENOENT`, `EPERM` as for [`destroy`](Self::destroy); `ENOENT` also if not all of them are the server's.
    /// `EINVAL`: they end before they begin. `ENOMEM`: a range would become two, and that is one too many, or there is
    /// no memory.
    pub fn unmap_range(
        &mut self,
        id: ServerId,
        by: DomId,
        space: Space,
        first: u64,
        last: u64,
    ) -> Result<(), Errno> {
        self.change_ranges(id, by, space, |ranges, held| ranges.unmap(id, first, last, held))
    }

    /// Changes the ranges of a space, and with them how many the server has.
    fn change_ranges(
        &mut self,
        id: ServerId,
        by: DomId,
        space: Space,
        change: impl FnOnce(&mut Ranges, &mut u16) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut held = self.owned(id, by)?.ranges;
        change(&mut self.ranges[space as usize], &mut held)?;
        self.owned(id, by)?.ranges = held;
        Ok(())
    }

    /// A frame that the owner may map: 0 is the ring's, then come those with slots. A missing one is made, with a frame
    /// from `alloc`.
    ///
    /// `ENOENT`: no such server, or it has no ring. `EPERM`: another domain made it. `EINVAL`: no such frame.
    /// `ENOMEM`: no memory.
    pub fn frame(
        &mut self,
        id: ServerId,
        by: DomId,
        index: u64,
        alloc: impl FnMut() -> Option<F>,
    ) -> Result<&F, Errno> {
        let vcpus = self.vcpus;
        let server = self.owned(id, by)?;
        match index.checked_sub(1) {
            None => server.ring.as_mut().ok_or(Errno::ENOENT)?.page(alloc),
            Some(page) => server.sync_page(usize::try_from(page).map_err(|_| Errno::EINVAL)?, vcpus, alloc),
        }
    }

    /// How many frames [`frame`](Self::frame) counts, the ring's included whether there is one or not.
    pub fn resource_frames(&self) -> u32 {
        1 + u32::from(self.vcpus).div_ceil(SLOTS_PER_PAGE)
    }
}
