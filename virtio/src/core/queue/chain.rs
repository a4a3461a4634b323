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

/// Takes the chain that begins with entry `head` of a queue's descriptors, of which there are `size` at `address`.
/// `None`: it is broken, see [`super::QueueError::Chain`].
pub(super) fn walk(ram: &Ram, address: GuestAddress, size: u16, head: u16) -> Option<Chain> {
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
                return None;
            }
            let parts = chain.readable.len().saturating_add(chain.writable.len());
            table = Table::indirect(ram, &descriptor, MAX_CHAIN.saturating_sub(parts))?;
            is_indirect = true;
            index = 0;
            continue;
        }
        // A chain is to be shorter than the 2^32 bytes of which the used ring can tell (2.7.5.2).
        total = total.checked_add(descriptor.len())?;
        let part = Part { address: descriptor.addr(), len: descriptor.len() };
        if descriptor.is_write_only() {
            chain.writable.push(part);
        } else if chain.writable.is_empty() {
            chain.readable.push(part);
        } else {
            return None;
        }
        if !descriptor.has_next() {
            return Some(chain);
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
    fn indirect(ram: &'a Ram, descriptor: &Descriptor, room: usize) -> Option<Table<'a>> {
        let bytes = usize::try_from(descriptor.len()).ok()?;
        let size = u16::try_from(bytes / ENTRY).ok()?;
        if size == 0 || !bytes.is_multiple_of(ENTRY) {
            return None;
        }
        let mut copied = vec![[0; ENTRY]; usize::from(size).min(MAX_CHAIN)];
        ram.read_slice(copied.as_flattened_mut(), descriptor.addr()).ok()?;
        Some(Table { ram, address: descriptor.addr(), size, left: usize::from(size).min(room), copied })
    }

    /// The entry at `index`, which counts as gone through.
    fn take(&mut self, index: u16) -> Option<Descriptor> {
        self.left = self.left.checked_sub(1)?;
        if index >= self.size {
            return None;
        }
        let index = usize::from(index);
        if let Some(bytes) = self.copied.get(index) {
            let mut descriptor = Descriptor::default();
            descriptor.as_mut_slice().copy_from_slice(bytes);
            return Some(descriptor);
        }
        let offset = u64::try_from(index.checked_mul(ENTRY)?).ok()?;
        self.ram.read_obj(self.address.checked_add(offset)?).ok()
    }
}

#[cfg(test)]
mod tests;
