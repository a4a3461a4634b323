//! What the driver writes into the queues.

use super::expected::index_at;
use super::guest::{BASE, SIZE};
use super::{Game, POOL, Subject};
use crate::driver::{INDIRECT, NEXT, Ring, WRITE};

/// Addresses about where memory and the address space end, and where a region does.
const ADDRESSES: [u64; 7] = [
    0,
    BASE - 1,
    BASE + SIZE as u64 - 1,
    BASE + SIZE as u64,
    u64::MAX,
    u64::MAX - 511,
    BASE + SIZE as u64 * 3 / 4 - 8,
];

/// Lengths of buffers, sectors, tables and memory, and near them.
const LENGTHS: [u32; 15] = [
    0,
    1,
    15,
    16,
    17,
    511,
    512,
    513,
    4096,
    SIZE as u32,
    SIZE as u32 + 16,
    16 << 16,
    1 << 31,
    u32::MAX,
    u32::MAX - 15,
];

impl<S: Subject> Game<'_, S> {
    /// Makes one chain available, a request or something like it.
    pub(super) fn offer(&mut self) {
        let number = self.random.below(self.rings.len() as u64) as usize;
        let (ring, next) = self.rings[number].clone();
        let index = index_at(&self.image, ring.available);
        // More than the queue holds only now and then: nothing else is seen then.
        if index.wrapping_sub(next) >= ring.size && !self.random.once_in(64) {
            return;
        }
        let (readable, writable) = self.subject.request(&mut self.random);
        let mut at = POOL + 16 * self.random.below((SIZE - POOL) as u64 / 32) as usize;
        let mut parts = Vec::new();
        let mut room = |bytes: usize| {
            let here = if at + bytes > SIZE { POOL } else { at };
            at = here + bytes;
            here
        };
        for bytes in &readable {
            let here = room(bytes.len());
            self.put(here, bytes);
            parts.push((BASE + here as u64, bytes.len() as u32, 0));
        }
        for len in writable {
            parts.push((BASE + room(len as usize) as u64, len, WRITE));
        }
        // Now and then a ring full of one chain.
        let fills = self.random.once_in(256);
        let is_indirect = fills || parts.len() > ring.size.into() || self.random.once_in(3);
        let (table, entries, first) = if is_indirect {
            let bytes = 16 * parts.len();
            (BASE + room(bytes + 15).next_multiple_of(16).min(SIZE - bytes) as u64, parts.len() as u64, 0)
        } else {
            (ring.descriptors, ring.size.into(), u64::from(ring.next))
        };
        self.rings[number].0.next =
            (ring.next + if is_indirect { 1 } else { parts.len() as u16 }) % ring.size;
        let count = parts.len() as u64;
        for (index, (mut address, mut len, mut flags)) in (0..).zip(parts) {
            let mut next = (first + index + 1) % entries;
            if index + 1 < count {
                flags |= NEXT;
            }
            if !fills && self.random.once_in(24) {
                (address, len, flags, next) = self.lie(address, len, flags, next);
            }
            self.describe(table + 16 * ((first + index) % entries), address, len, flags, next);
        }
        let mut head = first as u16;
        if is_indirect {
            head = ring.next;
            let (mut address, mut len, mut flags, mut next) = (table, 16 * count as u32, INDIRECT, 0);
            if !fills && self.random.once_in(64) {
                // A table of tables, which there must not be (2.7.5.3.1).
                address = BASE + room(16 + 15).next_multiple_of(16).min(SIZE - 16) as u64;
                self.describe(address, table, len, flags, next);
                len = 16;
            }
            if !fills && self.random.once_in(24) {
                (address, len, flags, next) = self.lie(address, len, flags, next);
            }
            self.describe(ring.descriptors + 16 * u64::from(head), address, len, flags, next);
        }
        if !fills && self.random.once_in(128) {
            head = self.random.word() as u16;
        }
        let mut index = index;
        loop {
            let slot = (ring.available - BASE) as usize + 4 + 2 * usize::from(index % ring.size);
            self.put(slot, &head.to_le_bytes());
            index = index.wrapping_add(1);
            if !fills || index.wrapping_sub(next) >= ring.size {
                break;
            }
        }
        self.put((ring.available - BASE) as usize + 2, &index.to_le_bytes());
    }

    /// One field of a descriptor is something else.
    fn lie(&mut self, address: u64, len: u32, flags: u16, next: u64) -> (u64, u32, u16, u64) {
        let random = &mut self.random;
        let any = random.word();
        match random.below(6) {
            0 => (random.of(&ADDRESSES), len, flags, next),
            1 => (BASE + random.below(SIZE as u64), len, flags, next),
            2 => (address, random.of(&LENGTHS), flags, next),
            3 => (address, random.below(SIZE as u64) as u32, flags, next),
            4 => {
                (address, len, random.of(&[any as u16, flags ^ WRITE, flags ^ NEXT, flags ^ INDIRECT]), next)
            }
            _ => (address, len, flags | NEXT, random.of(&[0, any % 40, any])),
        }
    }

    fn describe(&mut self, at: u64, address: u64, len: u32, flags: u16, next: u64) {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&address.to_le_bytes());
        entry[8..12].copy_from_slice(&len.to_le_bytes());
        entry[12..14].copy_from_slice(&flags.to_le_bytes());
        entry[14..].copy_from_slice(&(next as u16).to_le_bytes());
        self.put((at - BASE) as usize, &entry);
    }

    /// Words of the rings that say when to tell, and now and then any word.
    pub(super) fn noise(&mut self) {
        for number in 0..self.rings.len() {
            let (ring, next) = self.rings[number].clone();
            let available = (ring.available - BASE) as usize;
            let flags = u16::from(self.random.once_in(2));
            self.put(available, &flags.to_le_bytes());
            let event = next.wrapping_add(self.random.below(4) as u16).wrapping_sub(1);
            self.put(available + 4 + 2 * usize::from(ring.size), &event.to_le_bytes());
            if self.random.once_in(256) {
                let any = self.random.word() as u16;
                let ends = [next, next.wrapping_add(ring.size), next.wrapping_add(ring.size + 1), any];
                let index = self.random.of(&ends);
                self.put(available + 2, &index.to_le_bytes());
            }
        }
        if self.random.once_in(32) {
            let (at, value) = (self.random.below(SIZE as u64 / 2) as usize * 2, self.random.word() as u16);
            // What the device writes is looked at afterwards. That the driver may write there too is seen in races.
            let is_used = |(ring, _): &(Ring, u16)| {
                let first = (ring.used - BASE) as usize;
                (first..first + 6 + 8 * usize::from(ring.size)).contains(&at)
            };
            if !self.rings.iter().any(is_used) {
                self.put(at, &value.to_le_bytes());
            }
        }
    }
}
