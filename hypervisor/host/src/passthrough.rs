//! Devices of the machine that a boot-time domain owns: what its partial device tree asks for, and whether it can have
//! it.
//!
//! A page of registers and an interrupt belong to one domain only. The host's tree says, by `xen,passthrough` in a
//! node, what the first domain gives up; all else is its own or the hypervisor's. [`Owners`] is the one place that
//! decides, and a refusal names both who asks and who has it.

mod error;
mod fragment;
mod owners;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

pub use error::{PassthroughError, Resource};
pub use fragment::Fragment;
pub use owners::Owners;

use crate::platform::{Interrupt, Region};
use xenolith_core::types::Ipa;

/// Machine addresses that a device has in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it is in the machine; whole pages.
    pub machine: Region,
    /// Where the guest has it; the start of a page.
    pub guest: Ipa,
}

/// A device as a partial device tree asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its node in the partial tree.
    pub node: String,
    /// The host's node, as `xen,path` names it.
    pub host: Option<String>,
    /// Its registers.
    pub windows: Vec<Window>,
    /// The interrupts that the guest is told about.
    pub interrupts: Vec<Interrupt>,
}

/// What a domain gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Registers to map, each with the node that they are for.
    pub windows: Vec<(String, Window)>,
    /// Interrupts to route, ascending, each once; their numbers are the same for the guest.
    pub interrupts: Vec<(String, Interrupt)>,
}
