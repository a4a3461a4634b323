//! Why a guest's device tree cannot be made.

use core::fmt;

use xenolith_abi::Intid;

/// What is wrong with the description of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// No vCPU was asked for.
    NoVcpus,
    /// More vCPUs than the interrupt controller serves.
    TooManyVcpus {
        /// vCPUs that were asked for.
        vcpus: u16,
        /// vCPUs that there may be.
        limit: u16,
    },
    /// No memory was asked for.
    NoMemory,
    /// A range that ends behind the address space.
    BadRange {
        /// What it belongs to.
        what: &'static str,
        /// Its first address.
        start: u64,
    },
    /// An interrupt that is not of the kind that it must be.
    BadInterrupt {
        /// What it belongs to.
        what: &'static str,
        /// Its INTID.
        intid: Intid,
    },
    /// Nodes of the partial tree are nested too deeply.
    TooDeep {
        /// Levels that are allowed.
        limit: usize,
    },
    /// The tree would be larger than Linux takes.
    TooLarge {
        /// Its bytes.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::NoVcpus => write!(f, "a guest needs at least one vCPU"),
            TreeError::TooManyVcpus { vcpus, limit } => {
                write!(f, "{vcpus} vCPUs are too many: the interrupt controller serves {limit}")
            }
            TreeError::NoMemory => write!(f, "a guest needs memory"),
            TreeError::BadRange { what, start } => {
                write!(f, "{what} at {start:#x}: it ends behind the address space")
            }
            TreeError::BadInterrupt { what, intid } => {
                write!(f, "{what}: interrupt {} is not of the kind that it needs", intid.0)
            }
            TreeError::TooDeep { limit } => {
                write!(f, "the partial device tree has more than {limit} levels of nodes")
            }
            TreeError::TooLarge { size, limit } => {
                write!(f, "the guest's device tree has {size} bytes; at most {limit} are allowed")
            }
        }
    }
}

impl core::error::Error for TreeError {}
