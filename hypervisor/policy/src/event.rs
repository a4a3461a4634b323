//! Event channels: one bit of news from a domain, a virtual interrupt or the hypervisor to a domain's vCPU.
//!
//! One [`EventChannels`] holds the ports of one domain, and its caller keeps it behind one lock. A call that concerns
//! two domains is either made on both tables at once ([`Ends`], both locks held, the lower domain number first), or
//! in two steps with one lock at a time: the first table names the [`Peer`], the second acts only if the connection
//! still stands. So a send or a close never holds two locks.
//!
//! Nothing here touches an interrupt controller or a scheduler: what has to be done there comes back as [`EventActions`]
//! for after the unlocking. What a guest shares with us is reached by single atomic operations with bounded attempts;
//! a guest that fights over its own words loses its own events.

mod bind;
mod control;
mod deliver;
mod effects;
mod fifo;
mod poll;
mod port;
mod table;
mod teardown;
mod two_level;
mod vcpu_info;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use bind::Ends;
pub use effects::{Delivery, EventActions, Sent};
pub use port::{ConsumerTag, Link, Peer, Port};
pub use teardown::Closing;
pub use vcpu_info::vcpu_info_fits;
use xenolith_abi::Errno;
use xenolith_abi::event::{Virq, fifo as fifo_abi, two_level as two_level_abi};

use self::fifo::Fifo;
use self::poll::Pollers;
use self::port::Channel;
use self::table::PortTable;
use self::two_level::TwoLevel;
use self::vcpu_info::VcpuInfos;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;
use xenolith_hw::atomic::{Ordering, fence};
use xenolith_memory::page::Page;
pub use xenolith_memory::page::SharedFrame;

/// A call that was given a frame and refused it.
#[derive(Debug)]
pub struct Refused<F> {
    /// Why.
    pub errno: Errno,
    /// The frame, for the caller to let go of.
    pub frame: F,
}

/// The form in which events reach the guest.
enum Form<F> {
    TwoLevel(TwoLevel),
    Fifo(Fifo<F>),
}

/// What marking a port led to in the memory shared with the guest.
#[derive(Clone, Copy)]
struct Raised {
    /// The port was not pending before.
    became_pending: bool,
    /// The vCPU has something to look at that it had not been told of.
    announced: bool,
}

impl Raised {
    const NOTHING: Raised = Raised { became_pending: false, announced: false };
}

/// The event channels of one domain.
pub struct EventChannels<F> {
    domain: DomId,
    vcpus: u16,
    /// The highest port number that the domain may have.
    max_port: u32,
    ports: PortTable,
    /// For each vCPU and virtual interrupt its port, 0 for none. Those of the domain stand at vCPU 0.
    virqs: Vec<[u32; Virq::COUNT as usize]>,
    shared_info: Page,
    infos: VcpuInfos<F>,
    form: Form<F>,
    /// The queues of the FIFO form while it is not in use: a guest that changes to it allocates nothing.
    spare: Option<Fifo<F>>,
    pollers: Pollers,
    /// The number of the next connection.
    next_link: u64,
    closing: teardown::Progress<F>,
}

impl<F: SharedFrame> EventChannels<F> {
    /// Pages that the ports up to `max_port` can come to take.
    pub const fn pages(max_port: u32) -> u64 {
        PortTable::pages(most_ports(max_port))
    }

    /// The channels of a domain with this many vCPUs, none of them in use, in the 2-level form.
    ///
    /// Ports up to `max_port` may be made, as far as the form in use has them. The owner of `shared_info` keeps the
    /// page allocated until the teardown is done.
    ///
    /// `EINVAL`: more vCPUs than [`VcpuSet::CAPACITY`], or none. `ENOMEM`: no memory.
    pub fn new(domain: DomId, vcpus: u16, max_port: u32, shared_info: Page) -> Result<Self, Errno> {
        if vcpus == 0 || vcpus > VcpuSet::CAPACITY {
            return Err(Errno::EINVAL);
        }
        let mut virqs = Vec::new();
        virqs.try_reserve_exact(usize::from(vcpus)).map_err(|_| Errno::ENOMEM)?;
        virqs.resize(usize::from(vcpus), [0; Virq::COUNT as usize]);
        Ok(EventChannels {
            domain,
            vcpus,
            max_port,
            ports: PortTable::new(most_ports(max_port))?,
            virqs,
            shared_info,
            infos: VcpuInfos::new(shared_info, vcpus)?,
            form: Form::TwoLevel(TwoLevel::new(shared_info)),
            spare: Some(Fifo::new(vcpus)?),
            pollers: Pollers::new(vcpus)?,
            next_link: 0,
            closing: teardown::Progress::default(),
        })
    }

    /// The domain whose channels these are.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// How many frames of the guest the channels keep allocated: pages of the FIFO form, and those with a `vcpu_info`.
    pub fn held_frames(&self) -> usize {
        let queues = match &self.form {
            Form::TwoLevel(_) => 0,
            Form::Fifo(fifo) => fifo.held_frames(),
        };
        queues + self.infos.held_frames() + self.closing.held_frames()
    }

    /// Whether a vCPU has been told to look for events and has not done so: its event interrupt is due.
    pub fn needs_upcall(&self, vcpu: VcpuId) -> bool {
        !self.closing.is_dying() && self.infos.is_raised(vcpu)
    }

    /// The first port number that cannot be made now.
    fn end(&self) -> u32 {
        let ports = match self.form {
            Form::TwoLevel(_) => two_level_abi::PORTS,
            Form::Fifo(_) => fifo_abi::PORTS,
        };
        self.max_port.saturating_add(1).min(ports)
    }

    /// `ENOENT`: no such vCPU.
    fn check_vcpu(&self, vcpu: VcpuId) -> Result<(), Errno> {
        if vcpu.0 < self.vcpus { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// The port, if it is in use and the guest's own. `EINVAL` otherwise.
    #[inline]
    fn guests(&self, port: Port) -> Result<&Channel, Errno> {
        self.ports.get(port).filter(|channel| channel.is_guests()).ok_or(Errno::EINVAL)
    }

    /// As [`guests`](Self::guests), to change the port.
    fn guests_mut(&mut self, port: Port) -> Result<&mut Channel, Errno> {
        self.ports.get_mut(port).filter(|channel| channel.is_guests()).ok_or(Errno::EINVAL)
    }
}

/// How many ports there can be, port 0 included, when the highest is this one.
const fn most_ports(max_port: u32) -> u32 {
    let ports = max_port.saturating_add(1);
    if ports < fifo_abi::PORTS { ports } else { fifo_abi::PORTS }
}

/// Makes what was written before visible before anything is read after. An event is lost when we find a bit set and
/// leave, while the guest clears that bit and does not see what we wrote before (Xen's advisory 359).
fn barrier() {
    fence(Ordering::SeqCst);
}
