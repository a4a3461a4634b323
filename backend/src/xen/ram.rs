//! A guest's RAM, mapped in chunks when they are first touched.
//!
//! A page that the guest gave up (ballooned out) is refused by the hypervisor. It becomes a hole: an access there fails
//! and reaches nothing. It must not read as zeros, because the guest may take the page back, and nobody says so: after
//! a failed access, [`GuestRam::rescan`] looks whether what was missing has become memory.
//!
//! When pages leave the guest, what was mapped in one piece with them is unmapped at once, so that nothing old is kept or
//! reached.
//!
//! Principle: the guest decides how often it gives pages up and takes them back, so each costs about the same: a look is two
//! calls at most, and a page that leaves takes along the piece that it is in, of at most one chunk.

mod batch;
mod chunk;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xenolith_abi::{DomId, Gfn};

use rustix::io::Errno;

use crate::xen::Privcmd;
use crate::xen::privcmd::Batch;
use crate::{Bank, Error, Ram};
use chunk::{Chunk, Origin};
use virtio::core::memory::Part;
use virtio::core::ram::{RamError, RamRegion, StalePages};

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
}

/// The address behind a bank.
fn end_of(bank: &Bank) -> u64 {
    bank.base.saturating_add(bank.size)
}

/// Whether these chunks, one after the other, have all of `wanted`.
fn are_whole(chunks: &[Bank], wanted: &Range<u64>) -> bool {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return false };
    let is_closed = chunks.array_windows().all(|[one, next]| end_of(one) == next.base);
    is_closed && first.base <= wanted.start && wanted.end <= end_of(last)
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
        let origin = Arc::new(Origin { source, domain, mappings: Arc::default() });
        let chunks = chunk::cut(&banks);
        let fresh = chunks.iter().map(|&bank| Arc::new(Chunk::new(&origin, bank))).collect();
        let mapped = MappedRam::of(fresh).map_err(|_| unfit("overlaps"))?;
        if mapped.chunks.iter().any(|chunk| !chunk.mapped().pieces.is_empty()) {
            return Ok(GuestRam { chunks, mapped: Mutex::new(mapped) });
        }
        let first = mapped.chunks.iter().find_map(|chunk| chunk.mapped().first_error);
        let (frame, source) = first.unwrap_or((Gfn(0), Errno::INVAL));
        Err(Error::page(domain, frame, source))
    }

    /// The memory. What nobody has touched of it is mapped when somebody does.
    pub fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.lock().memory)
    }

    /// Gives pages back that have left the guest, and the pieces in which they are mapped: at once those that no other
    /// holder of [`GuestRam::memory`] keeps. What of them has not left is mapped again at its next use.
    pub fn refresh(&self, stale: &StalePages) {
        let mut mapped = self.lock();
        let mut changed = false;
        let without = |chunk: &Arc<Chunk>| match chunk.without(stale) {
            Some(rest) => {
                changed = true;
                Arc::new(rest)
            }
            None => Arc::clone(chunk),
        };
        let chunks = mapped.chunks.iter().map(without).collect();
        if changed {
            // The chunks were fit to be a memory before.
            *mapped = MappedRam::of(chunks).unwrap_or_default();
        }
    }

    /// Looks whether the first hole in a part has become memory, as far as the part reaches, by two calls of [`Foreign::map`]
    /// at most. Returns whether it has: a new [`GuestRam::memory`] has it. A part that is not in the banks is never looked for.
    pub fn rescan(&self, missing: Part) -> bool {
        let Some(end) = missing.address.0.checked_add(missing.len.into()) else { return false };
        let wanted = missing.address.0..end;
        let mut mapped = self.lock();
        let first = self.chunks.partition_point(|bank| end_of(bank) <= wanted.start);
        let last = self.chunks.partition_point(|bank| bank.base < wanted.end);
        if !are_whole(self.chunks.get(first..last).unwrap_or_default(), &wanted) {
            return false;
        }
        let chunks = mapped.chunks.iter().enumerate().skip(first).take(last.saturating_sub(first));
        let Some((place, hole)) =
            chunks.into_iter().find_map(|(place, chunk)| Some((place, chunk.first_hole(&wanted)?)))
        else {
            return false;
        };
        let Some(grown) = mapped.chunks.get(place).and_then(|chunk| chunk.grown(&hole)) else { return false };
        // A new one beside the old one: accesses may be under way there, which goes with its last holder.
        let mut chunks = mapped.chunks.clone();
        if let Some(chunk) = chunks.get_mut(place) {
            *chunk = Arc::new(grown);
        }
        *mapped = MappedRam::of(chunks).unwrap_or_default();
        true
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
