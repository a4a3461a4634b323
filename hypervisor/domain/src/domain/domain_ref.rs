//! A domain together with the hypervisor that it is in.
//!
//! What changes the domain alone is a method of [`Domain`]. What has consequences for its vCPUs, for other domains or for
//! the machine is a method of [`DomainRef`]: events, interrupts, mappings, starting and stopping.

use core::ops::Deref;

use crate::hypervisor::Hypervisor;

use super::Domain;

/// A domain and its hypervisor: two words, passed by value.
#[derive(Clone, Copy)]
pub struct DomainRef<'a> {
    /// The hypervisor.
    pub hv: &'a Hypervisor,
    /// The domain.
    pub domain: &'a Domain,
}

impl Deref for DomainRef<'_> {
    type Target = Domain;

    #[inline]
    fn deref(&self) -> &Domain {
        self.domain
    }
}

impl Domain {
    /// The domain with its hypervisor, which has to be the one that it was made in.
    #[inline]
    pub fn on<'a>(&'a self, hv: &'a Hypervisor) -> DomainRef<'a> {
        DomainRef { hv, domain: self }
    }
}
