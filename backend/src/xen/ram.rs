//! A guest's RAM, mapped in chunks when they are first touched.
//!
//! A page that the guest gave up (ballooned out) is refused by the hypervisor. It becomes a hole: an access there fails
//! and reaches nothing. It must not read as zeros, because the guest may take the page back, and nobody says so: after
//! a failed access, [`GuestRam::rescan`] finds the holes that have become memory.
//!
//! When pages leave the guest, all is unmapped at once, so that nothing old is kept or reached.

mod batch;
mod chunk;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xenolith_abi::{DomId, Gfn};

use rustix::io::Errno;

use crate::xen::Privcmd;
use crate::xen::privcmd::Batch;
use crate::{Bank, Error, Ram};
use chunk::{Chunk, Origin};
use virtio::core::ram::{RamError, RamRegion};

/// What maps pages of another domain: Xen's files, or a test.
pub trait Foreign: Send + Sync {
    /// Maps pages by their frames, all or none; see [`Privcmd::map_foreign`].
    ///
    /// # Errors
    /// The whole batch failed.
    fn map(&self, domain: DomId, frames: &[Gfn]) -> Result<Batch, Errno>;
}

impl Foreign for Privcmd {
    fn map(&self, domain: DomId, frames: &[Gfn]) -> Result<Batch, Errno> {
        self.map_foreign(domain, frames)
    }
}

/// A guest's RAM. One value serves all threads.
pub struct GuestRam {
    origin: Arc<Origin>,
    chunks: Vec<Bank>,
    mapped: Mutex<MappedRam>,
}

/// As it is mapped now.
#[derive(Default)]
struct MappedRam {
    memory: Arc<Ram>,
    /// What its regions are, in order.
    chunks: Vec<Arc<Chunk>>,
}

impl MappedRam {
    fn of(chunks: Vec<Arc<Chunk>>) -> Result<MappedRam, RamError> {
        let region = |chunk: &Arc<Chunk>| RamRegion::new(chunk.bank(), Arc::clone(chunk) as _);
        let memory = Ram::new(chunks.iter().map(region).collect::<Result<_, _>>()?)?;
        Ok(MappedRam { memory: Arc::new(memory), chunks })
    }

    /// Nothing is mapped of these chunks.
    fn fresh(origin: &Arc<Origin>, chunks: &[Bank]) -> Result<MappedRam, RamError> {
        MappedRam::of(chunks.iter().map(|&bank| Arc::new(Chunk::new(origin, bank))).collect())
    }
}

impl GuestRam {
    /// Takes up the banks of a guest's RAM, and maps some of it to see that it can.
    ///
    /// # Errors
    /// Not one page could be mapped; the error is that of the first. Or a bank is no whole number of pages, or they
    /// overlap.
    pub fn map(source: Arc<dyn Foreign>, domain: DomId, banks: &[Bank]) -> Result<GuestRam, Error> {
        let unfit = |what| Error::unfit(format!("domain {}: its RAM {what}: {banks:x?}", domain.0));
        let mut banks: Vec<Bank> = banks.iter().copied().filter(|bank| bank.size != 0).collect();
        if banks.is_empty() || !banks.iter().all(batch::is_whole_pages) {
            return Err(unfit("is no whole number of pages"));
        }
        banks.sort_by_key(|bank| bank.base);
        let origin = Arc::new(Origin { source, domain, mappings: AtomicUsize::new(0) });
        let chunks = chunk::cut(&banks);
        let mapped = MappedRam::fresh(&origin, &chunks).map_err(|_| unfit("overlaps"))?;
        if mapped.chunks.iter().any(|chunk| !chunk.mapped().pieces.is_empty()) {
            return Ok(GuestRam { origin, chunks, mapped: Mutex::new(mapped) });
        }
        let first = mapped.chunks.iter().find_map(|chunk| chunk.mapped().first_error);
        let (frame, source) = first.unwrap_or((Gfn(0), Errno::INVAL));
        Err(Error::page(domain, frame, source))
    }

    /// The memory. What nobody has touched of it is mapped when somebody does.
    pub fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.lock().memory)
    }

    /// Gives all pages back, because the guest's have changed: at once those that no other holder of
    /// [`GuestRam::memory`] keeps.
    pub fn refresh(&self) {
        // The chunks were fit to be a memory before.
        *self.lock() = MappedRam::fresh(&self.origin, &self.chunks).unwrap_or_default();
    }

    /// Looks whether holes have become memory; returns whether any has. A new [`GuestRam::memory`] has it.
    pub fn rescan(&self) -> bool {
        let mut mapped = self.lock();
        let mut found = false;
        let again = |chunk: &Arc<Chunk>| {
            if !chunk.has_grown() {
                return Arc::clone(chunk);
            }
            found = true;
            // A new one, as a whole: accesses may be under way in the old one, which goes with its last holder.
            Arc::new(Chunk::new(&self.origin, chunk.bank()))
        };
        let chunks = mapped.chunks.iter().map(again).collect();
        if found && let Ok(grown) = MappedRam::of(chunks) {
            *mapped = grown;
        }
        found
    }

    /// What of the RAM cannot be mapped, as far as anybody has touched it.
    pub fn holes(&self) -> Vec<Bank> {
        self.lock().chunks.iter().flat_map(|chunk| chunk.holes().to_vec()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, MappedRam> {
        // It is set in one step.
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
