//! An ioreq server: takes a guest's accesses to a range of addresses and has a device answer them.
//!
//! The hypervisor fills one slot per vCPU and sends an event; the vCPU waits until the slot is answered. What stands in
//! a slot is copied once and looked at before it is used, and whatever is there gets an answer or is left alone: no
//! content of the page stops the server.

mod request_loop;
mod slot;

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vm_memory::Bytes;
use xenolith_abi::Port;
use xenolith_abi::ioreq::SLOTS_PER_PAGE;

use crate::xen::dm::DeviceModel;
use crate::xen::{Evtchn, Mapping};
use crate::{Error, Mmio};

pub use request_loop::{Events, RequestLoop, Served};
pub(crate) use slot::{offset, peek, poke};

/// Resource type of ioreq pages (`XENMEM_resource_ioreq_server`).
const RESOURCE_IOREQ: u32 = 0;
/// The first page of synchronous requests among a server's pages; before it is that of buffered ones.
const FIRST_PAGE: u32 = 1;

/// A server for one guest's accesses. It ends when the value goes: what is in flight reads all ones then.
#[derive(Debug)]
pub struct Server {
    model: DeviceModel,
    id: u16,
    requests: RequestLoop<Evtchn>,
}

impl Server {
    /// Makes an enabled server with no addresses yet.
    ///
    /// # Errors
    /// A device file is missing, or the hypervisor refuses a call: this domain may not serve that guest.
    pub fn create(model: DeviceModel) -> Result<Server, Error> {
        // Before the server is made: what fails here leaves none behind.
        let events = Evtchn::open()?;
        let vcpus = model.vcpus()?;
        let id = model.create_server()?;
        match requests(&model, id, vcpus, events) {
            Ok(requests) => Ok(Server { model, id, requests }),
            Err(error) => {
                // The first error counts.
                let _ = model.destroy_server(id);
                Err(error)
            }
        }
    }

    /// Its number among the guest's servers.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The device model's calls for the guest.
    pub fn model(&self) -> &DeviceModel {
        &self.model
    }

    /// Takes accesses to guest physical addresses.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn map_mmio(&self, addresses: RangeInclusive<u64>) -> Result<(), Error> {
        self.model.map_mmio(self.id, addresses)
    }

    /// Gives those addresses up.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn unmap_mmio(&self, addresses: RangeInclusive<u64>) -> Result<(), Error> {
        self.model.unmap_mmio(self.id, addresses)
    }

    /// What becomes readable when there is something to serve: for `epoll`, edge- or level-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.requests.events().as_fd()
    }

    /// Serves all that is there, without waiting.
    ///
    /// # Errors
    /// The event channels fail. What the guest or the page says never is an error.
    pub fn serve_ready(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        self.requests.serve_ready(device)
    }

    /// Serves all that is there, and holds further events back: until [`Server::arm_notifications`], [`Server::fd`] does not become
    /// readable for a vCPU that was served.
    ///
    /// # Errors
    /// As [`Server::serve_ready`].
    pub fn drain_events(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        self.requests.drain_events(device)
    }

    /// Serves what the guest asks for at the moment, whether an event told of it or not: for a loop that looks again and
    /// again for a while and does not wait.
    ///
    /// # Errors
    /// As [`Server::serve_ready`].
    pub fn poll_once(&mut self, device: &mut dyn Mmio) -> Result<Served, Error> {
        self.requests.poll_once(device)
    }

    /// Lets the events come again that [`Server::drain_events`] holds back.
    ///
    /// # Errors
    /// As [`Server::serve_ready`].
    pub fn arm_notifications(&mut self) -> Result<(), Error> {
        self.requests.arm_notifications()
    }

    /// Serves until `stop` becomes readable.
    ///
    /// # Errors
    /// As [`Server::serve_ready`].
    pub fn run(&mut self, device: &mut dyn Mmio, stop: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            let mut files = [
                PollFd::new(self.requests.events(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop, PollFlags::IN),
            ];
            match poll(&mut files, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(Error::call("wait for events", source)),
            }
            if !files[1].revents().is_empty() {
                return Ok(());
            }
            self.serve_ready(device)?;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone with its guest.
        let _ = self.model.destroy_server(self.id);
    }
}

/// Maps a server's pages, enables it, and binds the channel of each vCPU.
fn requests(model: &DeviceModel, id: u16, vcpus: u32, events: Evtchn) -> Result<RequestLoop<Evtchn>, Error> {
    let pages = usize::try_from(vcpus.div_ceil(SLOTS_PER_PAGE).max(1))
        .map_err(|_| Error::unfit("a guest with more vCPUs than fit"))?;
    let page = model
        .privcmd()
        .map_resource(model.domain(), RESOURCE_IOREQ, u32::from(id), FIRST_PAGE, pages)
        .map_err(|source| Error::domain(model.domain(), "map the page of its ioreq server", source))?;
    // The ports are filled in only while the page is there and the server is enabled.
    model.enable_server(id, true)?;
    let mut ports = Vec::new();
    for vcpu in 0..vcpus {
        let remote = vcpu_port(&page, vcpu)?;
        ports.push(events.bind_interdomain(model.domain(), remote)?);
    }
    RequestLoop::new(Arc::new(page), ports, events)
}

/// The guest's port of a vCPU's channel.
fn vcpu_port(page: &Mapping, vcpu: u32) -> Result<Port, Error> {
    let port = slot::offset(vcpu)
        .and_then(|offset| page.slice().read_obj::<u32>(offset.checked_add(slot::PORT)?).ok());
    port.filter(|&port| port != 0)
        .map(Port)
        .ok_or_else(|| Error::unfit(format!("the ioreq page names no event channel for vCPU {vcpu}")))
}

#[cfg(test)]
mod tests;
