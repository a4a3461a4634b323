//! How much of a domain is left, and how far its destruction has come.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU8;

use xenolith_abi::Errno;

use xenolith_core::types::{DomId, Mfn};
use xenolith_memory::p2m::{RUNS, Run};

/// How much of a domain is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// All of it.
    Alive,
    /// It is being taken apart, and gets nothing any more.
    Dying,
    /// Only frames are left that others refer to.
    Dead,
}

impl From<Life> for AtomicU8 {
    fn from(life: Life) -> Self {
        AtomicU8::new(life as u8)
    }
}

/// The next phase of a domain's destruction. The order matters: an earlier phase may need what a later one takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has been done.
    Start,
    /// Its vCPUs are paused; some may still be on their CPUs.
    Quiesce,
    /// What it served of other domains ends, from this one on.
    Service(DomId),
    /// Its event channels are being closed.
    Events,
    /// The grants of others that it has mapped are being unmapped, from this handle on.
    Grants(u32),
    /// Its memory is being unmapped, from this guest frame on, and freed.
    Memory(u64),
    /// RAM that it owned without having it mapped is being freed, from this machine frame on.
    Strays(Mfn),
    /// The frames of its grant table and of its pool are being freed.
    Tables,
    /// All is done.
    Over,
}

/// How far the destruction of a domain has come.
pub struct Teardown {
    /// What is done next.
    pub phase: Phase,
    /// Mappings that were removed from its tables, and whose frames have not been released yet. There is room for what one
    /// call removes.
    pub unmapped: Vec<Run>,
}

impl Teardown {
    /// Nothing has been done yet, and what is to be done needs no memory. `ENOMEM`: there is none now.
    pub fn new() -> Result<Self, Errno> {
        let mut unmapped = Vec::new();
        unmapped.try_reserve_exact(RUNS).map_err(|_| Errno::ENOMEM)?;
        Ok(Teardown { phase: Phase::Start, unmapped })
    }
}
