//! The other side, for tests: a driver that owns guest memory, writes queues into it, and uses a device by its registers
//! only. It can do everything right, or anything at all ([`hostile`], [`storm`]).

pub mod files;
pub mod hostile;
pub mod storm;

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use crate::core::device::Device;
use crate::core::memory::GuestMemory as _;
use crate::core::ram::{Bank, Ram};
use crate::mock::Guest;
use crate::transport::mmio::Transport;

/// Where the guest's first bank begins, and its bytes.
pub const LOW: (u64, usize) = (0x4000_0000, 8 << 20);
/// The second.
pub const HIGH: (u64, usize) = (0x2_0000_0000, 1 << 20);

/// A descriptor's flags (2.7.5).
pub const NEXT: u16 = 1;
/// The device writes.
pub const WRITE: u16 = 2;
/// The descriptor names a table of descriptors.
pub const INDIRECT: u16 = 4;

/// Feature bits of the core that drivers choose.
pub const VERSION_1: u64 = 1 << 32;
/// The two sides say from which index on they want to hear.
pub const EVENT_IDX: u64 = 1 << 29;
/// Tables of descriptors.
pub const INDIRECT_DESC: u64 = 1 << 28;

/// The device's interrupt, under which a guest notes it.
pub const IRQ: u32 = 33;

/// A guest with two banks of memory.
///
/// # Panics
/// The host has no memory.
pub fn guest() -> Arc<Guest> {
    let banks = [LOW, HIGH].map(|(base, size)| Bank { base, size: size as u64 });
    Arc::new(Guest::new(&banks).expect("the host has memory"))
}

/// A device in front of a guest.
///
/// # Panics
/// The device's queues are of no valid size.
pub fn attach<D: Device>(device: D, guest: &Arc<Guest>) -> Transport<D> {
    Transport::new(device, Arc::clone(guest) as _, guest.line(IRQ)).expect("a valid size")
}

/// A queue as the driver sees it.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Entries.
    pub size: u16,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Of the available ring.
    pub available: u64,
    /// Of the used ring.
    pub used: u64,
    next: u16,
    offered: u16,
    seen: u16,
}

/// A driver that has started a device.
#[derive(Debug)]
pub struct Driver {
    /// The guest's memory.
    pub ram: Arc<Ram>,
    /// The queues.
    pub rings: Vec<Ring>,
    free: u64,
}

impl Driver {
    /// A driver that has done nothing yet.
    pub fn new(guest: &Guest) -> Driver {
        Driver { ram: guest.memory(), rings: Vec::new(), free: LOW.0 }
    }

    /// Resets the device and brings it up (3.1.1) with as many of `features` as it offers, and queues of `size` entries.
    ///
    /// # Panics
    /// The device does not go along.
    pub fn start<D: Device>(&mut self, mmio: &mut Transport<D>, features: u64, queues: u16, size: u16) {
        write(mmio, 0x70, 0);
        assert_eq!(read(mmio, 0x70), 0);
        write(mmio, 0x70, 1);
        write(mmio, 0x70, 3);
        for half in 0..2 {
            write(mmio, 0x14, half);
            let offered = u64::from(read(mmio, 0x10)) << (32 * half);
            write(mmio, 0x24, half);
            write(mmio, 0x20, u32::try_from(((offered & features) >> (32 * half)) & 0xffff_ffff).unwrap());
        }
        write(mmio, 0x70, 0xb);
        assert_eq!(read(mmio, 0x70), 0xb, "the features are refused");
        self.rings.clear();
        for number in 0..queues {
            self.set_up(mmio, number, size);
        }
        write(mmio, 0x70, 0xf);
        assert_eq!(read(mmio, 0x70), 0xf);
    }

    /// Sets one queue up and makes it ready.
    pub fn set_up<D: Device>(&mut self, mmio: &mut Transport<D>, number: u16, size: u16) {
        let ring = Ring {
            size,
            descriptors: self.allocate(usize::from(size) * 16),
            available: self.allocate(usize::from(size) * 2 + 6),
            used: self.allocate(usize::from(size) * 8 + 6),
            next: 0,
            offered: 0,
            seen: 0,
        };
        write(mmio, 0x30, number.into());
        assert!(read(mmio, 0x34) >= size.into());
        write(mmio, 0x38, size.into());
        for (register, address) in [(0x80, ring.descriptors), (0x90, ring.available), (0xa0, ring.used)] {
            write(mmio, register, u32::try_from(address & 0xffff_ffff).unwrap());
            write(mmio, register + 4, u32::try_from(address >> 32).unwrap());
        }
        write(mmio, 0x44, 1);
        self.rings.push(ring);
    }

    /// Memory that nothing else uses, zeroed, aligned to 16 bytes.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let address = self.free;
        self.free += (bytes as u64).next_multiple_of(16);
        assert!(self.free <= LOW.0 + LOW.1 as u64, "the test needs more memory");
        self.fill(address, &vec![0; bytes]);
        address
    }

    /// Writes guest memory.
    pub fn fill(&self, address: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    /// Reads guest memory.
    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Reads a 16-bit word of guest memory.
    pub fn word(&self, address: u64) -> u16 {
        self.ram.read_obj(GuestAddress(address)).unwrap()
    }

    /// Writes one descriptor into a table.
    pub fn describe(&self, table: u64, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.fill(table + u64::from(index) * 16, &bytes);
    }

    /// Writes a chain of (address, bytes) into queue `queue`, those of `readable` first, and makes it available.
    /// Returns its head. Descriptors are used round and round.
    pub fn offer(&mut self, queue: usize, readable: &[(u64, u32)], writable: &[(u64, u32)]) -> u16 {
        let all: Vec<_> = parts(readable, writable);
        let ring = self.rings[queue].clone();
        let head = ring.next;
        for (count, (address, len, flags)) in all.iter().enumerate() {
            let index = (head + count as u16) % ring.size;
            let (flags, next) = link(*flags, count, all.len(), (index + 1) % ring.size);
            self.describe(ring.descriptors, index, *address, *len, flags, next);
        }
        self.rings[queue].next = (head + all.len() as u16) % ring.size;
        self.make_available(queue, head);
        head
    }

    /// The same by a table of descriptors outside the queue.
    pub fn offer_indirect(&mut self, queue: usize, readable: &[(u64, u32)], writable: &[(u64, u32)]) -> u16 {
        let all = parts(readable, writable);
        let table = self.allocate(all.len() * 16);
        for (count, (address, len, flags)) in all.iter().enumerate() {
            let index = count as u16;
            let (flags, next) = link(*flags, count, all.len(), index + 1);
            self.describe(table, index, *address, *len, flags, next);
        }
        let ring = self.rings[queue].clone();
        let head = ring.next;
        self.describe(ring.descriptors, head, table, all.len() as u32 * 16, INDIRECT, 0);
        self.rings[queue].next = (head + 1) % ring.size;
        self.make_available(queue, head);
        head
    }

    /// Makes a chain available.
    pub fn make_available(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let (entry, index) =
            (ring.available + 4 + u64::from(ring.offered % ring.size) * 2, ring.available + 2);
        ring.offered = ring.offered.wrapping_add(1);
        let offered = ring.offered;
        self.fill(entry, &head.to_le_bytes());
        self.fill(index, &offered.to_le_bytes());
    }

    /// What came back since the last call: (head, bytes written).
    pub fn used(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let index = self.word(self.rings[queue].used + 2);
        let ring = self.rings[queue].clone();
        let mut all = Vec::new();
        let mut seen = ring.seen;
        while seen != index {
            let entry = self.bytes(ring.used + 4 + u64::from(seen % ring.size) * 8, 8);
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            all.push((word(0), word(4)));
            seen = seen.wrapping_add(1);
        }
        self.rings[queue].seen = seen;
        all
    }

    /// Says after which used index the driver wants an interrupt (2.7.7).
    pub fn want_interrupt_after(&self, queue: usize, index: u16) {
        let ring = &self.rings[queue];
        self.fill(ring.available + 4 + u64::from(ring.size) * 2, &index.to_le_bytes());
    }
}

fn parts(readable: &[(u64, u32)], writable: &[(u64, u32)]) -> Vec<(u64, u32, u16)> {
    let readable = readable.iter().map(|&(address, len)| (address, len, 0));
    readable.chain(writable.iter().map(|&(address, len)| (address, len, WRITE))).collect()
}

fn link(flags: u16, count: usize, all: usize, next: u16) -> (u16, u16) {
    if count + 1 < all { (flags | NEXT, next) } else { (flags, 0) }
}

/// Reads a register.
pub fn read<D: Device>(mmio: &mut Transport<D>, offset: u64) -> u32 {
    u32::try_from(mmio.read(offset, 4)).unwrap()
}

/// Writes a register.
pub fn write<D: Device>(mmio: &mut Transport<D>, offset: u64, value: u32) {
    mmio.write(offset, 4, value.into());
}

/// Notifies the device of a queue and lets it work until it has nothing to do.
pub fn kick<D: Device>(mmio: &mut Transport<D>, queue: u32) {
    write(mmio, 0x50, queue);
    while mmio.poll_until_idle() {}
}
