//! Walking a chain of descriptors (virtio 1.2, 2.7.5).
//!
//! Principle: a descriptor is copied out of guest memory and only the copy is looked at, so that the guest cannot change
//! what was checked. A table of descriptors (2.7.5.3) is copied as a whole, because one copy of many is far cheaper than
//! a copy of each.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, ByteValued, Bytes, GuestAddress};

use super::{Chain, MAX_CHAIN};
use crate::core::memory::Part;
use crate::core::ram::Ram;

/// Bytes of a descriptor.
const ENTRY: usize = size_of::<Descriptor>();

/// Why a chain cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// See [`super::QueueError::Chain`].
    Rule,
    /// These descriptors are not in the guest's RAM.
    NotRam(Part),
}

/// Takes the chain that begins with entry `head` of a queue's descriptors, of which there are `size` at `address`.
///
/// # Errors
/// [`Broken`]
pub(super) fn walk(ram: &Ram, address: GuestAddress, size: u16, head: u16) -> Result<Chain, Broken> {
    let mut chain = Chain { head, ..Chain::default() };
    let mut table = Table::of_queue(ram, address, size);
    let mut is_indirect = false;
    let mut total = 0u32;
    let mut index = head;
    loop {
        let descriptor = table.take(index)?;
        if descriptor.refers_to_indirect_table() {
            // A driver must neither put a table into a table nor go on behind one (2.7.5.3.1). Whether such a
            // descriptor is for writing is to be ignored (2.7.5.3.2).
            if is_indirect || descriptor.has_next() {
                return Err(Broken::Rule);
            }
            let parts = chain.readable.len().saturating_add(chain.writable.len());
            table = Table::indirect(ram, &descriptor, MAX_CHAIN.saturating_sub(parts))?;
            is_indirect = true;
            index = 0;
            continue;
        }
        // A chain is to be shorter than the 2^32 bytes of which the used ring can tell (2.7.5.2).
        total = total.checked_add(descriptor.len()).ok_or(Broken::Rule)?;
        let part = Part { address: descriptor.addr(), len: descriptor.len() };
        if descriptor.is_write_only() {
            chain.writable.push(part);
        } else if chain.writable.is_empty() {
            chain.readable.push(part);
        } else {
            return Err(Broken::Rule);
        }
        if !descriptor.has_next() {
            return Ok(chain);
        }
        index = descriptor.next();
    }
}

/// Descriptors that a chain goes through.
struct Table<'a> {
    ram: &'a Ram,
    address: GuestAddress,
    size: u16,
    /// Entries that the chain may still go through: none twice, and not more than [`MAX_CHAIN`] in all.
    left: usize,
    /// The first entries, if they were copied beforehand.
    copied: Vec<[u8; ENTRY]>,
}

impl<'a> Table<'a> {
    /// A queue's own descriptors. Other chains are among them, so only those that are wanted are read.
    fn of_queue(ram: &'a Ram, address: GuestAddress, size: u16) -> Table<'a> {
        Table { ram, address, size, left: usize::from(size).min(MAX_CHAIN), copied: Vec::new() }
    }

    /// The table that a descriptor refers to, for a chain that may have `room` parts more. Of a table that is longer
    /// than any chain, the beginning is copied.
    fn indirect(ram: &'a Ram, descriptor: &Descriptor, room: usize) -> Result<Table<'a>, Broken> {
        let bytes = usize::try_from(descriptor.len()).map_err(|_| Broken::Rule)?;
        let size = u16::try_from(bytes / ENTRY).map_err(|_| Broken::Rule)?;
        if size == 0 || !bytes.is_multiple_of(ENTRY) {
            return Err(Broken::Rule);
        }
        let mut copied = vec![[0; ENTRY]; usize::from(size).min(MAX_CHAIN)];
        let bytes = copied.as_flattened_mut();
        let len = u32::try_from(bytes.len()).map_err(|_| Broken::Rule)?;
        let missing = Broken::NotRam(Part { address: descriptor.addr(), len });
        ram.read_slice(bytes, descriptor.addr()).map_err(|_| missing)?;
        Ok(Table { ram, address: descriptor.addr(), size, left: usize::from(size).min(room), copied })
    }

    /// The entry at `index`, which counts as gone through.
    fn take(&mut self, index: u16) -> Result<Descriptor, Broken> {
        self.left = self.left.checked_sub(1).ok_or(Broken::Rule)?;
        if index >= self.size {
            return Err(Broken::Rule);
        }
        let index = usize::from(index);
        if let Some(bytes) = self.copied.get(index) {
            let mut descriptor = Descriptor::default();
            descriptor.as_mut_slice().copy_from_slice(bytes);
            return Ok(descriptor);
        }
        let offset = index.checked_mul(ENTRY).and_then(|offset| u64::try_from(offset).ok());
        let address = offset.and_then(|offset| self.address.checked_add(offset)).ok_or(Broken::Rule)?;
        // The size of a descriptor fits into any integer.
        let missing = Broken::NotRam(Part { address, len: ENTRY as u32 });
        self.ram.read_obj(address).map_err(|_| missing)
    }
}

#[cfg(test)]
mod tests;
