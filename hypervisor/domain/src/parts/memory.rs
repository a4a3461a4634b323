//! The account of a domain's guest physical memory: its tables, and how much of it there is.
//!
//! Rule of references: a frame of the domain's own RAM is kept by the domain's allocation; every other mapping (shared
//! pages, and what belongs to others) holds one reference of its own, which goes after the flush that follows its removal.

use xenolith_abi::Errno;

use crate::arch::HardwareTlb;
use xenolith_core::types::Gfn;
use xenolith_memory::frames::FrameError;
use xenolith_memory::p2m::{MapKind, P2m};
use xenolith_memory::table::TableList;

/// The p2m of a domain, and the account of its pages.
pub struct Memory {
    /// Guest frames to machine frames.
    pub p2m: P2m<TableList, HardwareTlb>,
    /// Pages of RAM that the domain owns, mapped or not.
    pub pages: u64,
    /// Pages that it may own.
    pub max_pages: u64,
    /// Where the shared info page is mapped.
    pub shared_info_gfn: Option<Gfn>,
    /// Up to how many pages the pool of tables grows by itself when it is used up: for domains that map the memory of
    /// others, for which nobody could say beforehand how much that will be.
    pub pool_limit: u64,
    /// The domain is dying: nothing is given to it or mapped any more.
    pub closed: bool,
}

impl Memory {
    /// Refuses a domain that is dying.
    pub fn require_open(&self) -> Result<(), Errno> {
        if self.closed { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Pages of the pool, those in use as tables included; the root does not count.
    pub fn pool_pages(&self) -> u64 {
        self.p2m.tables().saturating_add(self.p2m.pool().len())
    }
}

/// The error of the frame table, as hypercalls tell it.
pub fn frame_error(error: FrameError) -> Errno {
    match error {
        FrameError::WrongOwner => Errno::EPERM,
        FrameError::Saturated => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}

/// Whether a mapping of this kind holds a reference of its own.
pub fn holds_reference(kind: MapKind) -> bool {
    match kind {
        MapKind::Ram | MapKind::RamReadOnly | MapKind::Device | MapKind::StrictDevice => false,
        MapKind::Foreign
        | MapKind::ForeignReadOnly
        | MapKind::Grant
        | MapKind::GrantReadOnly
        | MapKind::Shared
        | MapKind::SharedReadOnly
        | MapKind::StaticShm => true,
    }
}
