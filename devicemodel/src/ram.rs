//! A guest's RAM, mapped once in large batches.
//!
//! A page that the guest gave up (ballooned out) is refused by the hypervisor. It becomes a hole: an access there fails
//! and reaches nothing. It must not read as zeros, because the guest may take the page back, and nobody says so: after
//! a failed access, [`GuestRam::look_again`] maps the holes that have become memory.
//!
//! When pages leave the guest, all is unmapped at once, so that nothing old is kept or reached, and mapped anew when it
//! is next asked for.

mod batch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::xen::Privcmd;
use crate::xen::privcmd::Batch;
use crate::{Bank, Error, Memory, Region};
use batch::{Mapped, map_all};

/// What maps pages of another domain: privcmd, or a test.
pub trait Foreign: Send + Sync {
    /// Maps pages by their frames, all or none; see [`Privcmd::map_foreign`].
    ///
    /// # Errors
    /// The whole batch failed.
    fn map(&self, domain: u16, frames: &[u64]) -> Result<Batch, Errno>;
}

impl Foreign for Privcmd {
    fn map(&self, domain: u16, frames: &[u64]) -> Result<Batch, Errno> {
        self.map_foreign(domain, frames)
    }
}

/// A guest's RAM. One value serves all threads.
pub struct GuestRam {
    source: Arc<dyn Foreign>,
    domain: u16,
    banks: Vec<Bank>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Arc<Memory>,
    regions: Vec<Arc<Region>>,
    holes: Vec<Bank>,
    /// All is to be mapped before the next use.
    stale: bool,
}

impl GuestRam {
    /// Maps the banks of a guest's RAM.
    ///
    /// # Errors
    /// Not one page could be mapped; the error is that of the first. Or a bank is no whole number of pages.
    pub fn map(source: Arc<dyn Foreign>, domain: u16, banks: &[Bank]) -> Result<GuestRam, Error> {
        let banks: Vec<Bank> = banks.iter().copied().filter(|bank| bank.size != 0).collect();
        if banks.is_empty() || !banks.iter().all(batch::is_whole_pages) {
            return Err(Error::unfit(format!(
                "domain {domain}: its RAM is no whole number of pages: {banks:x?}"
            )));
        }
        let ram = GuestRam { source, domain, banks, state: Mutex::default() };
        let mut mapped = map_all(&*ram.source, domain, &ram.banks);
        if mapped.regions.is_empty() {
            let (frame, source) = mapped.first_error.unwrap_or((0, Errno::INVAL));
            return Err(Error::page(domain, frame, source));
        }
        ram.lock().replace(Vec::new(), &mut mapped);
        Ok(ram)
    }

    /// The memory as it is mapped; after [`GuestRam::refresh`] it is mapped anew first.
    pub fn memory(&self) -> Arc<Memory> {
        let mut state = self.lock();
        if state.stale {
            let mut mapped = map_all(&*self.source, self.domain, &self.banks);
            state.replace(Vec::new(), &mut mapped);
        }
        Arc::clone(&state.memory)
    }

    /// Gives all pages back, because the guest's have changed: at once those that no other holder of
    /// [`GuestRam::memory`] keeps.
    pub fn refresh(&self) {
        *self.lock() = State { stale: true, ..State::default() };
    }

    /// Maps what were holes and have become memory; returns whether there was any.
    pub fn look_again(&self) -> bool {
        let mut state = self.lock();
        if state.stale {
            return true;
        }
        if state.holes.is_empty() {
            return false;
        }
        let mut mapped = map_all(&*self.source, self.domain, &state.holes);
        let found = !mapped.regions.is_empty();
        let regions = std::mem::take(&mut state.regions);
        state.replace(regions, &mut mapped);
        found
    }

    /// What of the RAM is not mapped.
    pub fn holes(&self) -> Vec<Bank> {
        self.lock().holes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is whole between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes over `regions` and what was mapped besides.
    fn replace(&mut self, mut regions: Vec<Arc<Region>>, mapped: &mut Mapped) {
        regions.append(&mut mapped.regions);
        regions.sort_by_key(|region| batch::start(region));
        // Regions that overlap, which banks given by the control domain may, leave nothing mapped.
        self.memory = Arc::new(Memory::from_arc_regions(regions.clone()).unwrap_or_default());
        self.regions = regions;
        self.holes = std::mem::take(&mut mapped.holes);
        self.stale = false;
    }
}

#[cfg(test)]
mod tests;
