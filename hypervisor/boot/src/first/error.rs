//! Why there is no first domain, in words for the one who wrote the boot script.

use alloc::string::String;
use core::fmt;

use xenolith_abi::Errno;

use crate::load::LoadError;
use xenolith_core::types::Pa;
use xenolith_domain::arch::ArchError;
use xenolith_domain::life::build::BuildError;
use xenolith_host::command_line::InvalidOptions;
use xenolith_host::domain_tree::TreeError;
use xenolith_memory::p2m::P2mError;

/// Why the first domain cannot be built.
#[derive(Debug)]
pub enum FirstError {
    /// The options contradict the machine.
    Options(InvalidOptions),
    /// There is not so much memory, or not in large enough pieces.
    Memory {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The hypervisor has no memory left for what describes the domain.
    NoHypervisorMemory,
    /// All private interrupts are in use.
    NoEventInterrupt,
    /// The modules cannot be brought into the domain's memory.
    Load {
        /// The kernel module's node.
        module: String,
        /// What is wrong.
        error: LoadError,
    },
    /// The device tree cannot be rewritten.
    Tree(TreeError),
    /// The interrupt controller cannot be shown to a domain.
    Controller(ArchError),
    /// A range cannot be mapped.
    Map(Pa, P2mError),
    /// A call that builds the domain failed.
    Call(Errno),
}

impl From<BuildError> for FirstError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Arch(error) => FirstError::Controller(error),
            BuildError::Map(start, error) => FirstError::Map(start, error),
            BuildError::Call(Errno::ENOMEM) => FirstError::NoHypervisorMemory,
            BuildError::Call(errno) => FirstError::Call(errno),
        }
    }
}

impl fmt::Display for FirstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirstError::Options(error) => error.fmt(f),
            FirstError::Memory { wanted, free } => {
                write!(
                    f,
                    "dom0_mem: {} MiB wanted, and {} MiB are free (in pieces of 2 MiB)",
                    wanted >> 20,
                    free >> 20
                )
            }
            FirstError::NoHypervisorMemory => {
                write!(f, "no memory is left for the domain's tables; lower dom0_mem")
            }
            FirstError::NoEventInterrupt => write!(f, "all private interrupts are in use; events need one"),
            FirstError::Load { module, error: LoadError::Kernel(error) } => {
                write!(f, "the kernel module {module} cannot be used: {error}")
            }
            FirstError::Load { module, error: LoadError::Unpack(error) } => {
                write!(f, "the kernel module {module} does not unpack: {error}")
            }
            FirstError::Load { error, .. } => error.fmt(f),
            FirstError::Tree(error) => error.fmt(f),
            FirstError::Controller(error) => {
                write!(f, "the interrupt controller cannot be shown to a domain: {error:?}")
            }
            FirstError::Map(start, error) => write!(f, "the range at {start} cannot be mapped: {error:?}"),
            FirstError::Call(errno) => write!(f, "building the first domain failed: {errno:?}"),
        }
    }
}
