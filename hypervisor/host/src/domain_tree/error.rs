//! Why a domain's device tree cannot be made.

use core::fmt;

use crate::platform::PlatformError;
use xenolith_core::types::Intid;

/// What is wrong with the wishes for a domain, or with the host's tree under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// The host's tree cannot be read.
    Host(PlatformError),
    /// No vCPU was asked for.
    NoVcpus,
    /// More vCPUs than the interrupt controller's layout has room for.
    TooManyVcpus {
        /// vCPUs that were asked for.
        vcpus: u16,
        /// The most vCPUs that the domain may have.
        limit: u16,
    },
    /// No memory was asked for.
    NoMemory,
    /// The number for event channels is no PPI, or a node of the host's uses it.
    EventPpiTaken(Intid),
    /// An address or a size needs more cells than the tree's root has.
    TooWide {
        /// What it belongs to.
        what: &'static str,
        /// The number that does not fit.
        value: u64,
    },
    /// The interrupt controller stands below a node that the domain may not have.
    NoInterruptController,
    /// The tree would be larger than Linux takes.
    TooLarge {
        /// Bytes of the tree.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Host(error) => error.fmt(f),
            TreeError::NoVcpus => write!(f, "a domain needs at least one vCPU, not zero vCPUs"),
            TreeError::TooManyVcpus { vcpus, limit } => {
                write!(
                    f,
                    "{vcpus} vCPUs are too many: the interrupt controller's layout has room for {limit}"
                )
            }
            TreeError::NoMemory => write!(f, "a domain needs memory"),
            TreeError::EventPpiTaken(Intid(intid)) => {
                write!(f, "interrupt {intid} cannot signal events: it is no PPI, or a device uses it")
            }
            TreeError::TooWide { what, value } => {
                write!(f, "{what}: {value:#x} does not fit the cells of the device tree's root")
            }
            TreeError::NoInterruptController => {
                write!(f, "the interrupt controller's node stands below one that the domain may not have")
            }
            TreeError::TooLarge { size, limit } => {
                write!(f, "the domain's device tree has {size} bytes; at most {limit} are allowed")
            }
        }
    }
}

impl core::error::Error for TreeError {}
