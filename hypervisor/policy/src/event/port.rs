//! What one port of a domain is: to what it is bound, which vCPU it notifies, and its memory of the FIFO queues.

pub use xenolith_abi::Port;
use xenolith_abi::event::fifo::DEFAULT_PRIORITY;

use xenolith_core::types::{DomId, VcpuId};

/// Tells connections apart which had the same two ports one after the other, so that a message about an old one
/// cannot touch a new one. Both ends of a connection hold the same value, and no other connection of either domain
/// ever does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub(super) u64);

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The domain at the other end, which may be the same one.
    pub domain: DomId,
    /// Its port.
    pub port: Port,
    /// The connection.
    pub link: Link,
}

/// Names, to whoever asked for the port, which part of the hypervisor consumes its events (an ioreq server, a
/// virtual UART).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTag(pub u32);

/// To what a port is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// Nothing: the port may be given out.
    Free,
    /// Waits for a domain to connect.
    Unbound(DomId),
    /// Connected, to a [`Peer`] in parts: with the tag among them a port has 32 bytes.
    Interdomain {
        /// The domain at the other end.
        domain: DomId,
        /// Its port.
        port: Port,
        /// The connection.
        link: Link,
    },
    /// A virtual interrupt's number, below `Virq::COUNT`.
    Virq(u8),
    /// Signals between vCPUs.
    Ipi,
}

impl From<Peer> for Binding {
    fn from(Peer { domain, port, link }: Peer) -> Self {
        Binding::Interdomain { domain, port, link }
    }
}

/// A queue of the FIFO form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// Whose control block has the head.
    pub vcpu: VcpuId,
    /// Below `fifo::QUEUES`.
    pub priority: u8,
}

/// What the FIFO form remembers about a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct FifoPort {
    /// The priority at which the port is queued next.
    pub priority: u8,
    /// The queue on which the port was last, which outlives the port: its number may still be that queue's tail.
    pub queue: Queue,
    /// The event happened while the array page with the port's word was missing.
    pub pending: bool,
}

/// One port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    /// To what it is bound.
    pub binding: Binding,
    /// The part of the hypervisor to which its events go instead of the guest.
    pub consumer: Option<ConsumerTag>,
    /// The vCPU that it notifies.
    pub vcpu: VcpuId,
    /// For the FIFO form.
    pub fifo: FifoPort,
}

// 128 of them in a page: they are charged to the domain by pages.
const _: () = assert!(size_of::<Channel>() == 32);

impl Channel {
    /// A port that was never used.
    pub(super) const FREE: Channel = Channel {
        binding: Binding::Free,
        consumer: None,
        vcpu: VcpuId(0),
        fifo: FifoPort {
            priority: DEFAULT_PRIORITY,
            queue: Queue { vcpu: VcpuId(0), priority: DEFAULT_PRIORITY },
            pending: false,
        },
    };

    /// Whether a guest may act on the port.
    pub(super) fn is_guests(&self) -> bool {
        self.binding != Binding::Free && self.consumer.is_none()
    }

    /// The other end, when there is one.
    pub(super) fn peer(&self) -> Option<Peer> {
        match self.binding {
            Binding::Interdomain { domain, port, link } => Some(Peer { domain, port, link }),
            _ => None,
        }
    }
}
