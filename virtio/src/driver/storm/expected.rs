//! What a device may do with the queues that it finds: the rules of 2.7, read once more, and from the driver's side.
//!
//! Nothing here is shared with the device's own walk.

use std::ops::Range;

use vm_memory::GuestAddress;

use super::super::{INDIRECT, NEXT, Ring, WRITE};
use super::guest::{BASE, SIZE, offset};
use crate::core::memory::Part;
use crate::core::queue::MAX_CHAIN;

/// A byte may be reached.
pub const REACHED: u8 = 1;
/// A byte may be written.
pub const WRITTEN: u8 = 2;
/// A byte is the queues' own: an area, or a table.
const OWN: u8 = 4;

/// A chain as it stands in memory.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// The queue's number.
    pub queue: usize,
    /// Its first descriptor.
    pub head: u16,
    /// What the device may read.
    pub readable: Vec<Part>,
    /// What it may write.
    pub writable: Vec<Part>,
    /// Where it breaks the rules, if it does.
    pub is_broken: bool,
}

impl Granted {
    /// Bytes that the device may write.
    pub fn room(&self) -> u64 {
        self.writable.iter().map(|part| u64::from(part.len)).sum()
    }
}

/// What a device may do in a turn.
#[derive(Debug)]
pub struct Expected {
    /// The chains, in the order of each queue.
    pub chains: Vec<Granted>,
    /// A queue's index runs ahead of what the queue holds.
    pub runs_ahead: bool,
    /// What may be written is part of what says what may be written: all bets are off.
    pub is_tangled: bool,
    /// Of each byte of memory what the device may do with it.
    pub rights: Vec<u8>,
    /// Where tables of descriptors are, in memory.
    tables: Vec<Range<usize>>,
}

fn word16(memory: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([memory[at], memory[at + 1]])
}

/// An index of a ring.
pub fn index_at(memory: &[u8], ring: u64) -> u16 {
    word16(memory, (ring - BASE) as usize + 2)
}

/// What of a part is memory.
fn in_memory(part: Part) -> Range<usize> {
    let end = part.address.0.saturating_add(part.len.into()).min(BASE + SIZE as u64);
    let first = part.address.0.max(BASE);
    if first < end { (first - BASE) as usize..(end - BASE) as usize } else { 0..0 }
}

impl Expected {
    /// Nothing is allowed.
    pub fn new() -> Expected {
        let rights = vec![0; SIZE];
        Expected { chains: Vec::new(), runs_ahead: false, is_tangled: false, rights, tables: Vec::new() }
    }

    /// Looks at memory in which each ring's next chain is at an index.
    pub fn look(&mut self, memory: &[u8], rings: &[(Ring, u16)], event_idx: bool) {
        self.chains.clear();
        self.tables.clear();
        self.rights.fill(0);
        (self.runs_ahead, self.is_tangled) = (false, false);
        for (number, (ring, next)) in rings.iter().enumerate() {
            let size = usize::from(ring.size);
            self.allow(ring.descriptors, 16 * size, REACHED | OWN);
            self.allow(ring.available, 6 + 2 * size, REACHED | OWN);
            self.allow(ring.used, 6 + 8 * size, REACHED | OWN);
            let ahead = index_at(memory, ring.available).wrapping_sub(*next);
            self.runs_ahead |= ahead > ring.size;
            // Flags of the used ring, or the index from which on the device wants to hear.
            let (flags, event) = (ring.used, ring.used + 4 + 8 * size as u64);
            self.allow(if event_idx { event } else { flags }, 2, WRITTEN);
            if ahead > 0 {
                self.allow(ring.used + 2, 2, WRITTEN);
            }
            for count in 0..ahead.min(ring.size) {
                let slot = u64::from(next.wrapping_add(count) % ring.size);
                self.allow(ring.used + 4 + 8 * slot, 8, WRITTEN);
                let head = word16(memory, (ring.available - BASE + 4 + 2 * slot) as usize);
                let chain = self.walk(memory, ring, number, head);
                self.chains.push(chain);
            }
        }
        // A table that lies where the device says what is used, say, is another one afterwards.
        let is_written =
            |table: &Range<usize>| self.rights[table.clone()].iter().any(|byte| byte & WRITTEN != 0);
        self.is_tangled = self.tables.iter().any(is_written);
        for chain in 0..self.chains.len() {
            for write in [false, true] {
                let parts = if write { &self.chains[chain].writable } else { &self.chains[chain].readable };
                for part in parts.clone() {
                    self.allow_part(part, if write { REACHED | WRITTEN } else { REACHED });
                }
            }
        }
    }

    fn allow(&mut self, address: u64, len: usize, rights: u8) {
        let at = (address - BASE) as usize;
        self.rights[at..at + len].iter_mut().for_each(|byte| *byte |= rights);
    }

    /// A descriptor names this; what of it is memory may be used.
    fn allow_part(&mut self, part: Part, rights: u8) {
        for byte in &mut self.rights[in_memory(part)] {
            self.is_tangled |= rights & WRITTEN != 0 && *byte & OWN != 0;
            *byte |= rights;
        }
    }

    /// Whether nothing that a chain has the device read is written meanwhile.
    pub fn stays(&self, chain: &Granted) -> bool {
        let is_written = |part: &Part| {
            offset(part.address, part.len).is_none_or(|at| {
                self.rights[at..at + part.len as usize].iter().any(|byte| byte & WRITTEN != 0)
            })
        };
        !chain.readable.iter().any(is_written)
    }

    /// Follows a chain (2.7.5), and allows its tables.
    fn walk(&mut self, memory: &[u8], ring: &Ring, queue: usize, head: u16) -> Granted {
        let mut chain = Granted { queue, head, is_broken: true, ..Granted::default() };
        let (mut table, mut entries) = ((ring.descriptors - BASE) as usize, usize::from(ring.size));
        let (mut index, mut seen, mut is_indirect) = (usize::from(head), 0, false);
        loop {
            let parts = chain.readable.len() + chain.writable.len();
            if index >= entries || parts >= MAX_CHAIN || seen == entries {
                return chain;
            }
            seen += 1;
            // Of a long table only the beginning may be in RAM.
            let Some(entry) = memory.get(table + 16 * index..table + 16 * index + 16) else { return chain };
            let address = GuestAddress(u64::from_le_bytes(entry[..8].try_into().expect("8 bytes")));
            let len = u32::from_le_bytes(entry[8..12].try_into().expect("4 bytes"));
            let (flags, next) = (word16(entry, 12), word16(entry, 14));
            if flags & INDIRECT != 0 {
                let named = Part { address, len };
                self.allow_part(named, REACHED | OWN);
                self.tables.push(in_memory(named));
                let is_table = len > 0 && len.is_multiple_of(16) && len / 16 <= u16::MAX.into();
                let first = offset(address, len.min(16 * MAX_CHAIN as u32)).filter(|_| is_table);
                let (Some(first), false, 0) = (first, is_indirect, flags & NEXT) else { return chain };
                (table, entries, index, seen, is_indirect) = (first, len as usize / 16, 0, 0, true);
                continue;
            }
            let part = Part { address, len };
            if flags & WRITE != 0 {
                chain.writable.push(part);
            } else if chain.writable.is_empty() {
                chain.readable.push(part);
            } else {
                return chain;
            }
            let all =
                chain.readable.iter().chain(&chain.writable).map(|part| u64::from(part.len)).sum::<u64>();
            if all > u32::MAX.into() {
                return chain;
            }
            if flags & NEXT == 0 {
                chain.is_broken = false;
                return chain;
            }
            index = usize::from(next);
        }
    }
}
