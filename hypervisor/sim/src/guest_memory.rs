//! A domain's memory as its guest sees it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use xenolith_core::types::{Gfn, Ipa, PAGE_SIZE};
use xenolith_domain::domain::Domain;

use super::{Machine, RAM_BASE};

impl Machine {
    /// Writes into a domain's memory as the guest would.
    ///
    /// # Panics
    /// Something in the range is not the guest's to write.
    pub fn poke<T: IntoBytes + Immutable + ?Sized>(&self, domain: &Domain, at: u64, value: &T) {
        let mut at = Ipa(at);
        let mut rest = value.as_bytes();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE as usize - at.offset()));
            domain.on(&self.hv).write_memory(at, now).expect("memory of the guest");
            at = Ipa(at.0 + now.len() as u64);
            rest = later;
        }
    }

    /// Reads from a domain's memory as the guest would.
    ///
    /// # Panics
    /// Something in the range is not the guest's to read.
    pub fn peek<T: FromBytes + IntoBytes>(&self, domain: &Domain, at: u64) -> T {
        let mut value = T::new_zeroed();
        let mut at = Ipa(at);
        let mut rest = value.as_mut_bytes();
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_SIZE as usize - at.offset()));
            domain.on(&self.hv).read_memory(at, now).expect("memory of the guest");
            at = Ipa(at.0 + now.len() as u64);
            rest = later;
        }
        value
    }

    /// The first guest frame of a domain's RAM.
    pub fn ram_of(&self, domain: &Domain) -> Gfn {
        if !domain.direct_mapped {
            return RAM_BASE;
        }
        let memory = domain.memory.lock();
        let mut from = Gfn(0);
        loop {
            let end = memory.p2m.geometry().end().0;
            let (runs, reached) = memory.p2m.scan(from, end - from.0).expect("within the limits");
            match runs.iter().find(|run| run.kind.is_ram()) {
                Some(run) => return run.gfn,
                None => from = Gfn(from.0 + reached),
            }
        }
    }
}
