//! I/O requests: what a guest's access to an emulated device becomes, until a device model in another domain has
//! answered it.
//!
//! One [`Servers`] holds the ioreq servers of one domain, and its caller keeps it behind one lock. A server belongs to
//! the domain that made it; it has ranges of addresses, a page with a slot for each vCPU, and a port for each vCPU.
//! An access goes [`route`](Servers::route), [`post`](Servers::post), then the caller notifies the port and blocks the
//! vCPU; an event at that port goes to [`answered`](Servers::on_response), which may end the wait, and the vCPU fetches
//! the value with [`take_result`](Servers::take_result).
//!
//! The owner of a server is trusted with nothing but its device. Of a slot only the state and the data are read, once
//! each; what was asked stands in our own books. Whatever the owner does (a wrong state, an event without cause, no
//! answer and a lost port, the end of the server) a wait either goes on or ends: a read then gives all ones, a write is
//! dropped. Nothing here allocates on the way of an access, and nothing touches hardware.

mod buffered;
mod control;
mod forward;
mod ranges;
mod server;
mod slot;
mod tag;
mod wait;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use xenolith_abi::Errno;
use xenolith_abi::ioreq::RequestType;

pub use buffered::{Buffered, Buffering};
pub use control::{CreateError, Info, Removed};
pub use forward::{Outcome, Posted};
pub use ranges::RANGES_PER_SERVER;
pub use tag::is_ours;
pub use wait::Completed;

use self::ranges::Ranges;
use self::server::Server;
use self::wait::Wait;
use crate::event::{SharedFrame, VcpuSet};
use xenolith_core::types::{DomId, VcpuId};

/// Servers that a domain may have at once.
pub const SERVERS: usize = 16;

/// A server's number within the domain it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ioreq server {}", self.0)
    }
}

/// What an address is an address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// I/O ports: not on Arm.
    Port,
    /// Guest physical addresses.
    Mmio,
    /// PCI functions, each by segment, bus, device and function in one number. Not on Arm.
    PciConfig,
}

impl Space {
    /// Every space, in the order of the ABI's numbers for ranges.
    pub const ALL: [Space; 3] = [Space::Port, Space::Mmio, Space::PciConfig];

    /// How a slot names the space.
    fn request_type(self) -> RequestType {
        match self {
            Space::Port => RequestType::Port,
            Space::Mmio => RequestType::Copy,
            Space::PciConfig => RequestType::PciConfig,
        }
    }
}

/// One access of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where.
    pub space: Space,
    /// The first byte. For [`Space::PciConfig`] the function in the upper half and the register in the lower.
    pub address: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether the guest writes.
    pub write: bool,
    /// What it writes; bits beyond the size are not passed on.
    pub data: u64,
}

/// The ioreq servers of one domain. `F` keeps a shared page allocated.
pub struct Servers<F> {
    vcpus: u16,
    /// How many servers there are.
    count: u16,
    /// Empty until the first server is made, then [`SERVERS`] places.
    places: Vec<Option<Server<F>>>,
    /// Empty until the first server is made, then one for each vCPU.
    waits: Vec<Wait>,
    /// The ranges of all servers, for each space.
    ranges: [Ranges; Space::ALL.len()],
    /// How many servers were ever made, modulo 2^32.
    generation: u32,
}

impl<F: SharedFrame> Servers<F> {
    /// No server, for a domain with this many vCPUs. Takes no memory.
    ///
    /// `EINVAL`: more vCPUs than [`VcpuSet::CAPACITY`], or none.
    pub fn new(vcpus: u16) -> Result<Self, Errno> {
        if vcpus == 0 || vcpus > VcpuSet::CAPACITY {
            return Err(Errno::EINVAL);
        }
        let ranges = Default::default();
        Ok(Servers { vcpus, count: 0, places: Vec::new(), waits: Vec::new(), ranges, generation: 0 })
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

    /// How many frames are held.
    pub fn held_frames(&self) -> usize {
        self.iter().map(|(_, server)| server.held_frames()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (ServerId, &Server<F>)> {
        (0..).map(ServerId).zip(&self.places).filter_map(|(id, place)| Some((id, place.as_ref()?)))
    }

    fn server(&self, id: ServerId) -> Option<&Server<F>> {
        self.places.get(place(id)?)?.as_ref()
    }

    fn server_mut(&mut self, id: ServerId) -> Option<&mut Server<F>> {
        self.places.get_mut(place(id)?)?.as_mut()
    }

    /// The server, if this domain made it. `ENOENT`: no such server. `EPERM`: another domain made it.
    fn owned(&mut self, id: ServerId, by: DomId) -> Result<&mut Server<F>, Errno> {
        let server = self.server_mut(id).ok_or(Errno::ENOENT)?;
        if server.owner == by { Ok(server) } else { Err(Errno::EPERM) }
    }

    fn wait(&self, vcpu: VcpuId) -> Option<&Wait> {
        self.waits.get(usize::from(vcpu.0))
    }

    fn wait_mut(&mut self, vcpu: VcpuId) -> Option<&mut Wait> {
        self.waits.get_mut(usize::from(vcpu.0))
    }
}

/// The index of a server's place. What is returned is masked too, so that a mispredicted branch leads nowhere else.
fn place(id: ServerId) -> Option<usize> {
    let index = usize::from(id.0);
    (index < SERVERS).then_some(index % SERVERS)
}
