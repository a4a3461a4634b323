//! Why a domain is not started at boot, in words for the one who wrote its node.

use alloc::string::String;
use core::fmt;

use machine_model::tree::TreeError;
use xenolith_abi::Errno;

use crate::load::LoadError;
use crate::static_shm::NotTaken;
use xenolith_core::types::{Intid, Pa};
use xenolith_domain::arch::ArchError;
use xenolith_domain::life::build::BuildError;
use xenolith_host::passthrough::PassthroughError;
use xenolith_host::platform::PlatformError;
use xenolith_memory::p2m::P2mError;

/// Why a domain is not started at boot.
#[derive(Debug)]
pub enum BootError {
    /// Its node is wrong.
    Node(PlatformError),
    /// A property of its node cannot be had on this machine.
    Property {
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More vCPUs than its interrupt controller serves.
    TooManyVcpus {
        /// The number that was asked for.
        vcpus: u32,
        /// The most that it serves.
        limit: u16,
    },
    /// There is not so much memory, or not in large enough pieces.
    Memory {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// More memory than guest addresses have room for.
    TooMuchMemory(u64),
    /// There is no memory for static shared memory of its.
    StaticShm(NotTaken),
    /// The port of a static event channel cannot be made.
    Port {
        /// The channel's node.
        node: String,
        /// The port.
        port: u32,
        /// Why.
        error: Errno,
    },
    /// The hypervisor has no memory left for what describes the domain.
    NoHypervisorMemory,
    /// All private interrupts are in use.
    NoEventInterrupt,
    /// It cannot have the devices that it is to have.
    Passthrough(PassthroughError),
    /// Two things would be at the same guest addresses.
    Overlap {
        /// The two.
        what: [String; 2],
        /// Where the second one begins.
        at: u64,
    },
    /// Guest addresses that stage 2 does not reach.
    OutOfReach {
        /// What is there.
        what: String,
        /// Bits of a guest address.
        address_bits: u32,
    },
    /// Nowhere is room for the grant table's window.
    NoWindow,
    /// A device that is passed through has the emulated UART's interrupt.
    InterruptTwice {
        /// The interrupt.
        intid: Intid,
        /// The device's node in the partial tree.
        node: String,
    },
    /// The modules cannot be brought into the domain's memory.
    Load {
        /// The kernel module's node.
        module: String,
        /// What is wrong.
        error: LoadError,
    },
    /// Its device tree cannot be made.
    Tree(TreeError),
    /// The interrupt controller cannot be shown to it.
    Controller(ArchError),
    /// A range cannot be mapped.
    Map(Pa, P2mError),
    /// A call that builds the domain failed.
    Call(Errno),
}

impl From<BuildError> for BootError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Arch(error) => BootError::Controller(error),
            BuildError::Map(start, error) => BootError::Map(start, error),
            BuildError::Call(Errno::ENOMEM) => BootError::NoHypervisorMemory,
            BuildError::Call(errno) => BootError::Call(errno),
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use BootError as E;
        match self {
            E::Node(error) => error.fmt(f),
            E::Property { property, problem } => write!(f, "`{property}` {problem}"),
            E::TooManyVcpus { vcpus, limit } => {
                write!(f, "`cpus`: {vcpus} vCPUs are too many, its interrupt controller serves {limit}")
            }
            E::Memory { wanted, free } => write!(
                f,
                "`memory`: {} KiB wanted, and {} MiB are free (in pieces of 2 MiB); dom0_mem is what the first \
                 domain gets",
                wanted >> 10,
                free >> 20
            ),
            E::TooMuchMemory(bytes) => write!(f, "`memory`: {} KiB do not fit guest addresses", bytes >> 10),
            E::StaticShm(error) => error.fmt(f),
            E::Port { node, port, error: Errno::ENOSPC } => write!(
                f,
                "device tree node {node}: `xen,evtchn`: port {port} is above {}, the highest of a domain that starts at \
                 boot",
                super::MAX_PORT
            ),
            E::Port { node, port, error } => {
                write!(f, "device tree node {node}: `xen,evtchn`: port {port} cannot be made: {error:?}")
            }
            E::NoHypervisorMemory => write!(f, "no memory is left for its tables; lower dom0_mem"),
            E::NoEventInterrupt => write!(f, "all private interrupts are in use; events need one"),
            E::Passthrough(error) => error.fmt(f),
            E::Overlap { what: [one, other], at } => {
                write!(f, "{one} and {other} would both be at guest address {at:#x}")
            }
            E::OutOfReach { what, address_bits } => {
                write!(f, "{what} is beyond the {address_bits} bits of a guest address")
            }
            E::NoWindow => write!(f, "no guest addresses are free for its grant table"),
            E::InterruptTwice { intid: Intid(intid), node } => write!(
                f,
                "interrupt {intid} would be both that of `vpl011` and that of the partial device tree's {node}"
            ),
            E::Load { module, error } => write!(f, "{module}: {error}"),
            E::Tree(error) => write!(f, "its device tree cannot be made: {error}"),
            E::Controller(error) => write!(f, "the interrupt controller cannot be shown to it: {error:?}"),
            E::Map(start, error) => write!(f, "the range at {start} cannot be mapped: {error:?}"),
            E::Call(errno) => write!(f, "building it failed: {errno:?}"),
        }
    }
}
