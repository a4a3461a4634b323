//! Event channels (`public/event_channel.h`): the calls, their arguments, and the words that a guest shares with the
//! hypervisor in the FIFO form.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DomId, Gfn, Port};

numbers! {
    /// A sub-operation of `event_channel_op`.
    EventOp: u32 {
        /// Connects to a port that another domain left unbound for the caller.
        BindInterdomain = 0,
        /// Makes a port for a virtual interrupt.
        BindVirq = 1,
        /// Makes a port for a physical interrupt.
        BindPirq = 2,
        /// Frees a port.
        Close = 3,
        /// Signals the other end.
        Send = 4,
        /// Says what a port is bound to.
        Status = 5,
        /// Makes a port for another domain to connect to.
        AllocUnbound = 6,
        /// Makes a port for signals between the caller's vCPUs.
        BindIpi = 7,
        /// Moves a port to another vCPU.
        BindVcpu = 8,
        /// Unmasks a port and delivers what is pending.
        Unmask = 9,
        /// Closes all ports of a domain.
        Reset = 10,
        /// Gives a vCPU its FIFO control block.
        InitControl = 11,
        /// Adds a page of FIFO event words.
        ExpandArray = 12,
        /// Sets a port's priority.
        SetPriority = 13,
    }
}

numbers! {
    /// What a port is, as the status call reports it.
    EventStatus: u32 {
        /// Not in use.
        Closed = 0,
        /// Waits for the other end.
        Unbound = 1,
        /// Connected to a port of a domain.
        Interdomain = 2,
        /// Bound to a physical interrupt.
        Pirq = 3,
        /// Bound to a virtual interrupt.
        Virq = 4,
        /// Bound to signals between vCPUs.
        Ipi = 5,
    }
}

numbers! {
    /// A virtual interrupt (`VIRQ_*` of `public/xen.h`).
    Virq: u32 {
        /// Time base update or a timer's end; per vCPU.
        Timer = 0,
        /// A request to print debugging information; per vCPU.
        Debug = 1,
        /// Input for the control domain on the hypervisor's console.
        Console = 2,
        /// A domain's state changed.
        DomExc = 3,
        /// Records stand in the trace buffer.
        TraceBuffer = 4,
        /// A domain paused for its debugger.
        Debugger = 6,
        /// Profiling; per vCPU.
        Xenoprof = 7,
        /// The hypervisor wrote to its console.
        ConsoleRing = 8,
        /// A physical CPU came or went.
        PcpuState = 9,
        /// A memory event.
        MemEvent = 10,
        /// An Argo message came.
        Argo = 11,
        /// The hypervisor runs out of memory.
        OutOfMemory = 12,
        /// Performance counters; per vCPU.
        Pmu = 13,
        /// Device slots that concern the domain changed ([`crate::xenolith::VIRQ_SLOTS`]).
        DeviceSlots = 23,
    }
}

impl Virq {
    /// How many numbers the ABI reserves for virtual interrupts, with those of architectures (`NR_VIRQS`).
    pub const COUNT: u32 = 24;

    /// Whether each vCPU has this interrupt for itself. The others belong to the domain.
    pub const fn is_per_vcpu(self) -> bool {
        matches!(self, Virq::Timer | Virq::Debug | Virq::Xenoprof | Virq::Pmu)
    }
}

/// Argument of [`EventOp::BindInterdomain`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindInterdomain {
    /// In: the domain at the other end.
    pub remote_dom: DomId,
    /// Ignored.
    pub pad: u16,
    /// In: its port.
    pub remote_port: Port,
    /// Out: the caller's port.
    pub local_port: Port,
}

/// Argument of [`EventOp::BindVirq`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindVirq {
    /// In: a [`Virq`].
    pub virq: u32,
    /// In: the vCPU to notify.
    pub vcpu: u32,
    /// Out: the port.
    pub port: Port,
}

/// Argument of [`EventOp::AllocUnbound`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllocUnbound {
    /// In: the domain that gets the port.
    pub dom: DomId,
    /// In: the domain that may connect.
    pub remote_dom: DomId,
    /// Out: the port.
    pub port: Port,
}

/// Argument of [`EventOp::BindIpi`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindIpi {
    /// In: the vCPU to notify.
    pub vcpu: u32,
    /// Out: the port.
    pub port: Port,
}

/// Argument of [`EventOp::Close`], [`EventOp::Send`] and [`EventOp::Unmask`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortArgument {
    /// In: the caller's port.
    pub port: Port,
}

/// Argument of [`EventOp::Status`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// In: the domain.
    pub dom: DomId,
    /// Ignored.
    pub pad: u16,
    /// In: its port.
    pub port: Port,
    /// Out: an [`EventStatus`].
    pub status: u32,
    /// Out: the vCPU which the port notifies.
    pub vcpu: u32,
    /// Out: what it is bound to. Unbound: the domain that may connect, in the low 16 bits. Interdomain: the other
    /// domain, in the low 16 bits. Virtual interrupt: its number.
    pub bound_to: u32,
    /// Out, interdomain only: the port at the other end.
    pub remote_port: Port,
}

/// Argument of [`EventOp::BindVcpu`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BindVcpu {
    /// In: the caller's port.
    pub port: Port,
    /// In: the vCPU to notify from now on.
    pub vcpu: u32,
}

/// Argument of [`EventOp::Reset`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reset {
    /// In: the domain.
    pub dom: DomId,
}

/// Argument of [`EventOp::InitControl`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InitControl {
    /// In: the guest frame that holds the control block.
    pub control_gfn: Gfn,
    /// In: the block's offset in the frame.
    pub offset: u32,
    /// In: the vCPU.
    pub vcpu: u32,
    /// Out: how many bits of an event word are the link ([`fifo::LINK_BITS`]).
    pub link_bits: u8,
    /// Ignored.
    pub pad: [u8; 7],
}

/// Argument of [`EventOp::ExpandArray`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExpandArray {
    /// In: the guest frame of the next 1024 event words.
    pub array_gfn: Gfn,
}

/// Argument of [`EventOp::SetPriority`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetPriority {
    /// In: the caller's port.
    pub port: Port,
    /// In: 0 (most urgent) to 15.
    pub priority: u32,
}

/// The form with two levels of bits in the shared info page.
pub mod two_level {
    /// Ports of a domain: 64 words of 64 bits.
    pub const PORTS: u32 = 4096;
}

/// The form with queues of event words.
pub mod fifo {
    /// Ports of a domain.
    pub const PORTS: u32 = 1 << LINK_BITS;
    /// Event words in a page of the array.
    pub const WORDS_PER_PAGE: u32 = 1024;
    /// Pages of the array.
    pub const PAGES: u32 = PORTS / WORDS_PER_PAGE;

    /// Bits of an event word that name the next port of its queue.
    pub const LINK_BITS: u32 = 17;
    /// The link of an event word.
    pub const LINK: u32 = (1 << LINK_BITS) - 1;
    /// The hypervisor is linking behind this word; the consumer must not unlink it now.
    pub const BUSY: u32 = 1 << 28;
    /// The word is in a queue.
    pub const LINKED: u32 = 1 << 29;
    /// The guest does not want the event now.
    pub const MASKED: u32 = 1 << 30;
    /// The event happened.
    pub const PENDING: u32 = 1 << 31;

    /// Queues of a vCPU, one for each priority; 0 is the most urgent.
    pub const QUEUES: u32 = 16;
    /// Priority of a port that was given none.
    pub const DEFAULT_PRIORITY: u8 = 7;

    /// Bytes of a control block.
    pub const CONTROL_SIZE: usize = 72;
    /// Offset of the word with a bit for each queue that is not empty.
    pub const CONTROL_READY: usize = 0;
    /// Offset of the 16 heads, 32 bits each.
    pub const CONTROL_HEADS: usize = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(BindInterdomain, 12, 4, { remote_dom: 0, remote_port: 4, local_port: 8 });
        assert_layout!(BindVirq, 12, 4, { virq: 0, vcpu: 4, port: 8 });
        assert_layout!(AllocUnbound, 8, 4, { dom: 0, remote_dom: 2, port: 4 });
        assert_layout!(BindIpi, 8, 4, { vcpu: 0, port: 4 });
        assert_layout!(PortArgument, 4, 4, { port: 0 });
        assert_layout!(Status, 24, 4, {
            dom: 0, port: 4, status: 8, vcpu: 12, bound_to: 16, remote_port: 20,
        });
        assert_layout!(BindVcpu, 8, 4, { port: 0, vcpu: 4 });
        assert_layout!(Reset, 2, 2, { dom: 0 });
        assert_layout!(InitControl, 24, 8, { control_gfn: 0, offset: 8, vcpu: 12, link_bits: 16 });
        assert_layout!(ExpandArray, 8, 8, { array_gfn: 0 });
        assert_layout!(SetPriority, 8, 4, { port: 0, priority: 4 });
    }

    #[test]
    fn the_fields_of_an_event_word_do_not_overlap() {
        let fields = [fifo::LINK, fifo::BUSY, fifo::LINKED, fifo::MASKED, fifo::PENDING];
        assert_eq!(fields.iter().map(|field| field.count_ones()).sum::<u32>(), 21);
        assert_eq!(fields.iter().fold(0, |all, field| all | field).count_ones(), 21);
        assert_eq!(fifo::CONTROL_HEADS + 4 * fifo::QUEUES as usize, fifo::CONTROL_SIZE);
        assert_eq!(fifo::PAGES, 128);
    }

    #[test]
    fn numbers() {
        assert_eq!(EventOp::from_number(13), Some(EventOp::SetPriority));
        assert_eq!(EventOp::from_number(14), None);
        assert_eq!(Virq::from_number(5), None);
        assert!(Virq::ALL.iter().all(|virq| virq.number() < Virq::COUNT));
    }
}
