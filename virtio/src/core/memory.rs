//! Guest memory, as devices see it.
//!
//! Principle: no Rust reference ever points into guest memory. It is copied in or out, or handed to the kernel by
//! address while the mapping is kept alive.

use std::sync::Arc;

use vm_memory::guest_memory::GuestMemory as GuestMemoryAccess;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, Permissions, VolatileSlice};

use super::ram::{Ram, StalePages};

/// A guest's memory, as a carrier has it for its devices. One value serves all threads of a device.
pub trait GuestMemory: Send + Sync {
    /// The guest's RAM as it is mapped now.
    ///
    /// Take it for one piece of work, such as the requests that a queue holds now, and give it back after that: pages that
    /// the guest gives up stay with the holder of an old value. The call waits while the memory is mapped anew.
    fn memory(&self) -> Arc<Ram>;

    /// Looks for RAM that has come back, after an access to `missing` by [`GuestMemory::memory`] failed: a page that the guest
    /// had given up. What it costs has a bound, whatever the guest asks for: a part of which several pages have come back
    /// may take several calls.
    ///
    /// Returns whether RAM was added, so that another try with a fresh [`GuestMemory::memory`] makes sense.
    fn rescan(&self, _missing: Part) -> bool {
        false
    }

    /// Gives pages back that have left the guest, and what is mapped in one piece with them; the next
    /// [`GuestMemory::memory`] maps what is left of it anew. Nothing may be in flight.
    fn refresh(&self, _stale: &StalePages) {}
}

/// A piece of guest memory, as a descriptor names it. Nothing is known of it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Guest physical address of its first byte.
    pub address: GuestAddress,
    /// Bytes of the part.
    pub len: u32,
}

/// Pieces that are to be read or written as one, all of them in the guest's RAM.
#[derive(Clone, Debug)]
pub struct Buffers {
    ram: Arc<Ram>,
    parts: Vec<Part>,
    len: u64,
}

/// A part that is not in the guest's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a buffer is outside the guest's RAM")]
pub struct NotRam;

impl Buffers {
    /// The pieces of `parts`, neighbours joined and empty ones left out.
    ///
    /// # Errors
    /// [`NotRam`]
    pub fn new(ram: &Arc<Ram>, parts: &[Part]) -> Result<Buffers, NotRam> {
        let mut buffers = Buffers { ram: Arc::clone(ram), parts: Vec::with_capacity(parts.len()), len: 0 };
        if !are_ram(ram, parts.iter().copied()) {
            return Err(NotRam);
        }
        parts.iter().filter(|part| part.len > 0).for_each(|&part| buffers.append(part));
        Ok(buffers)
    }

    fn append(&mut self, part: Part) {
        self.len = self.len.saturating_add(part.len.into());
        // Neighbours become one piece: the kernel takes a limited number of them in a call (IOV_MAX).
        if let Some(last) = self.parts.last_mut()
            && last.address.0.checked_add(last.len.into()) == Some(part.address.0)
            && let Some(joined) = last.len.checked_add(part.len)
        {
            last.len = joined;
            return;
        }
        self.parts.push(part);
    }

    /// Bytes of all pieces.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces as the host has them mapped. A piece that spans two regions becomes two slices.
    ///
    /// # Errors
    /// [`NotRam`], which [`Buffers::new`] has ruled out.
    pub fn slices(&self) -> Result<Vec<VolatileSlice<'_>>, NotRam> {
        self.slices_from(0, self.len)
    }

    /// The same for `most` bytes from byte `skip` on, or as many as there are.
    ///
    /// # Errors
    /// As [`Buffers::slices`].
    pub fn slices_from(&self, skip: u64, most: u64) -> Result<Vec<VolatileSlice<'_>>, NotRam> {
        let mut slices = Vec::with_capacity(self.parts.len());
        self.visit(skip, self.len.saturating_sub(skip).min(most), |slice| slices.push(slice))?;
        Ok(slices)
    }

    /// Shows the slices of `count` bytes from byte `skip` on to `visitor`, in order.
    fn visit<'a>(
        &'a self,
        mut skip: u64,
        mut count: u64,
        mut visitor: impl FnMut(VolatileSlice<'a>),
    ) -> Result<(), NotRam> {
        for part in &self.parts {
            let len = u64::from(part.len);
            if count == 0 {
                break;
            }
            if skip >= len {
                skip = skip.saturating_sub(len);
                continue;
            }
            let wanted = len.saturating_sub(skip).min(count);
            let address = GuestAddress(part.address.0.wrapping_add(skip));
            let part = Part { address, len: u32::try_from(wanted).map_err(|_| NotRam)? };
            (skip, count) = (0, count.saturating_sub(wanted));
            // Most parts are within one region, which is found without an iterator over them.
            if let Some(slice) = one_piece(&self.ram, part) {
                visitor(slice);
                continue;
            }
            let wanted = usize::try_from(wanted).map_err(|_| NotRam)?;
            let pieces = GuestMemoryAccess::get_slices(&*self.ram, address, wanted, Permissions::ReadWrite)
                .map_err(|_| NotRam)?;
            for piece in pieces {
                visitor(piece.map_err(|_| NotRam)?);
            }
        }
        if count == 0 { Ok(()) } else { Err(NotRam) }
    }

    /// Copies bytes out of guest memory, from byte `skip` of the pieces on, until `into` is full.
    ///
    /// # Errors
    /// [`NotRam`], also if the pieces end before.
    pub fn copy_to(&self, skip: u64, into: &VolatileSlice<'_>) -> Result<(), NotRam> {
        let mut done = 0usize;
        self.visit(skip, u64::try_from(into.len()).map_err(|_| NotRam)?, |slice| {
            if let Ok(part) = into.subslice(done, slice.len()) {
                done = done.saturating_add(slice.len());
                slice.copy_to_volatile_slice(part);
            }
        })
    }

    /// Copies bytes out of guest memory, from its beginning, until `into` is full or the pieces end. Returns how many.
    ///
    /// # Errors
    /// [`NotRam`]
    pub fn copy_out(&self, into: &mut [u8]) -> Result<usize, NotRam> {
        let mut done = 0;
        for slice in self.slices()? {
            let rest = into.get_mut(done..).unwrap_or_default();
            done = done.saturating_add(slice.copy_to(rest));
        }
        Ok(done)
    }

    /// Copies bytes into guest memory, from its beginning, until `from` or the pieces end. Returns how many.
    ///
    /// # Errors
    /// [`NotRam`]
    pub fn copy_in(&self, from: &[u8]) -> Result<usize, NotRam> {
        let mut done = 0usize;
        for slice in self.slices()? {
            let rest = from.get(done..).unwrap_or_default();
            let count = rest.len().min(slice.len());
            slice.copy_from(rest.get(..count).unwrap_or_default());
            done = done.saturating_add(count);
        }
        Ok(done)
    }
}

/// A part in one piece. `None`: it is not in RAM, or spans more than one region.
fn one_piece(ram: &Ram, part: Part) -> Option<VolatileSlice<'_>> {
    GuestMemoryBackend::get_slice(ram, part.address, usize::try_from(part.len).ok()?).ok()
}

/// Whether all of these parts are in the guest's RAM.
pub fn are_ram(ram: &Ram, parts: impl IntoIterator<Item = Part>) -> bool {
    missing(ram, parts).is_none()
}

/// The first of these parts that is not in the guest's RAM as a whole.
pub fn missing(ram: &Ram, parts: impl IntoIterator<Item = Part>) -> Option<Part> {
    let is_there = |part: &Part| part.len == 0 || one_piece(ram, *part).is_some() || is_ram(ram, *part);
    parts.into_iter().find(|part| !is_there(part))
}

/// Whether all of a part is in the guest's RAM.
pub fn is_ram(ram: &Ram, part: Part) -> bool {
    part.len == 0
        || usize::try_from(part.len)
            .is_ok_and(|len| GuestMemoryAccess::check_range(ram, part.address, len, Permissions::ReadWrite))
}

/// Writes one byte of guest memory.
///
/// # Errors
/// [`NotRam`]
pub fn write_byte(ram: &Ram, address: GuestAddress, value: u8) -> Result<(), NotRam> {
    ram.write_obj(value, address).map_err(|_| NotRam)
}

/// Cuts the first `count` bytes off `parts`. `None`: there are not so many, and nothing was cut.
pub fn cut_front(parts: &mut Vec<Part>, count: u32) -> Option<Vec<Part>> {
    if total(parts) < u64::from(count) {
        return None;
    }
    let mut front = Vec::with_capacity(1);
    let mut missing = count;
    let mut whole = 0usize;
    for part in parts.iter_mut() {
        if missing == 0 {
            break;
        }
        let taken = part.len.min(missing);
        front.push(Part { address: part.address, len: taken });
        missing = missing.saturating_sub(taken);
        if taken == part.len {
            whole = whole.saturating_add(1);
        } else {
            part.address = GuestAddress(part.address.0.wrapping_add(taken.into()));
            part.len = part.len.saturating_sub(taken);
        }
    }
    parts.drain(..whole);
    Some(front)
}

/// Cuts the last byte off `parts`. `None`: there is none.
pub fn cut_last_byte(parts: &mut Vec<Part>) -> Option<GuestAddress> {
    while parts.last().is_some_and(|part| part.len == 0) {
        parts.pop();
    }
    let last = parts.last_mut()?;
    last.len = last.len.checked_sub(1)?;
    Some(GuestAddress(last.address.0.wrapping_add(last.len.into())))
}

/// Bytes of all `parts`.
pub fn total(parts: &[Part]) -> u64 {
    parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.len.into()))
}
