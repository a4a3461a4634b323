//! A guest's RAM, mapped in chunks when they are first touched.
//!
//! A page that the guest gave up (ballooned out) is refused by the hypervisor. It becomes a hole: an access there fails
//! and reaches nothing. It must not read as zeros, because the guest may take the page back, and nobody says so: after
//! a failed access, [`GuestRam::look_again`] finds the holes that have become memory.
//!
//! When pages leave the guest, all is unmapped at once, so that nothing old is kept or reached.

mod batch;
mod chunk;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::xen::Privcmd;
use crate::xen::privcmd::Batch;
use crate::{Bank, Error, Memory, Region};
pub(crate) use chunk::Chunk;
use chunk::Origin;

/// What maps pages of another domain: Xen's files, or a test.
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
    origin: Arc<Origin>,
    chunks: Vec<Bank>,
    /// As it is mapped now.
    memory: Mutex<Arc<Memory>>,
}

impl GuestRam {
    /// Takes up the banks of a guest's RAM, and maps some of it to see that it can.
    ///
    /// # Errors
    /// Not one page could be mapped; the error is that of the first. Or a bank is no whole number of pages, or they
    /// overlap.
    pub fn map(source: Arc<dyn Foreign>, domain: u16, banks: &[Bank]) -> Result<GuestRam, Error> {
        let unfit = |what| Error::unfit(format!("domain {domain}: its RAM {what}: {banks:x?}"));
        let mut banks: Vec<Bank> = banks.iter().copied().filter(|bank| bank.size != 0).collect();
        if banks.is_empty() || !banks.iter().all(batch::is_whole_pages) {
            return Err(unfit("is no whole number of pages"));
        }
        banks.sort_by_key(|bank| bank.base);
        let origin = Arc::new(Origin { source, domain, mappings: AtomicUsize::new(0) });
        let chunks = chunk::cut(&banks);
        let memory = fresh(&origin, &chunks).map_err(|_| unfit("overlaps"))?;
        if chunks_of(&memory).any(|chunk| !chunk.mapped().pieces.is_empty()) {
            return Ok(GuestRam { origin, chunks, memory: Mutex::new(Arc::new(memory)) });
        }
        let first = chunks_of(&memory).find_map(|chunk| chunk.mapped().first_error);
        let (frame, source) = first.unwrap_or((0, Errno::INVAL));
        Err(Error::page(domain, frame, source))
    }

    /// The memory. What nobody has touched of it is mapped when somebody does.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.lock())
    }

    /// Gives all pages back, because the guest's have changed: at once those that no other holder of
    /// [`GuestRam::memory`] keeps.
    pub fn refresh(&self) {
        // The chunks were fit to be a memory before.
        *self.lock() = Arc::new(fresh(&self.origin, &self.chunks).unwrap_or_default());
    }

    /// Looks whether holes have become memory; returns whether any has. A new [`GuestRam::memory`] has it.
    pub fn look_again(&self) -> bool {
        let mut memory = self.lock();
        let mut found = false;
        let again = |region: &Arc<Region>| match region.chunk() {
            Some(chunk) if chunk.has_grown() => {
                found = true;
                Arc::new(Region::of_guest(Chunk::new(&self.origin, chunk.bank())))
            }
            _ => Arc::clone(region),
        };
        let regions = memory.regions().iter().map(again).collect();
        if found && let Ok(grown) = Memory::from_arc_regions(regions) {
            *memory = Arc::new(grown);
        }
        found
    }

    /// What of the RAM cannot be mapped, as far as anybody has touched it.
    pub fn holes(&self) -> Vec<Bank> {
        chunks_of(&self.lock()).flat_map(|chunk| chunk.holes().to_vec()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Memory>> {
        // It is set in one step.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn chunks_of(memory: &Memory) -> impl Iterator<Item = &Chunk> {
    memory.regions().iter().filter_map(|region| region.chunk())
}

/// A memory of which nothing is mapped.
///
/// # Errors
/// The chunks overlap.
fn fresh(origin: &Arc<Origin>, chunks: &[Bank]) -> Result<Memory, Error> {
    let region = |&bank| Arc::new(Region::of_guest(Chunk::new(origin, bank)));
    Memory::from_arc_regions(chunks.iter().map(region).collect())
}

#[cfg(test)]
mod tests;
