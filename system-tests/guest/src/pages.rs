//! Mapped pages, whose content others may change: read and written by value, never borrowed.

#![expect(
    unsafe_code,
    reason = "maps memory and touches it by raw pointer, within the bounds of the mapping"
)]

use std::os::fd::AsFd;
use std::ptr;

use anyhow::Result;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A mapping of whole pages, unmapped when dropped.
pub struct Pages {
    base: *mut u8,
    len: usize,
}

impl Pages {
    /// `count` pages of ordinary memory, all of them present.
    pub fn anonymous(count: usize) -> Result<Self> {
        let (len, protection) = (count * PAGE, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new private mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE | MapFlags::POPULATE)?
        };
        Ok(Self { base: base.cast(), len })
    }

    /// `count` pages of a device file, from its `offset`; read-only unless `writable`.
    pub fn of_device(device: impl AsFd, offset: u64, count: usize, writable: bool) -> Result<Self> {
        let len = count * PAGE;
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory. What the device
        // gives is shared with others, and is only ever accessed by volatile copies of bytes.
        let base = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, device, offset)? };
        Ok(Self { base: base.cast(), len })
    }

    /// Allows writing, or only reading, or nothing.
    pub fn protect(&mut self, first: usize, count: usize, read: bool, write: bool) -> Result<()> {
        let mut flags = MprotectFlags::empty();
        flags.set(MprotectFlags::READ, read);
        flags.set(MprotectFlags::WRITE, write);
        assert!((first + count) * PAGE <= self.len);
        // SAFETY: the pages lie in this mapping; no reference to their content exists.
        unsafe { mprotect(self.base.add(first * PAGE).cast(), count * PAGE, flags)? };
        Ok(())
    }

    /// Address of the first byte.
    pub fn address(&self) -> u64 {
        self.base.addr() as u64
    }

    /// Reads the byte at `offset`.
    pub fn read(&self, offset: usize) -> u8 {
        assert!(offset < self.len);
        // SAFETY: in bounds of the mapping, which lives as long as `self`; volatile, as others may write it.
        unsafe { self.base.add(offset).read_volatile() }
    }

    /// Writes the byte at `offset`.
    pub fn write(&self, offset: usize, value: u8) {
        assert!(offset < self.len);
        // SAFETY: in bounds of the mapping, which lives as long as `self`; volatile, as others may read it. A
        // page that refuses the write ends the process by a signal, which is memory safe.
        unsafe { self.base.add(offset).write_volatile(value) }
    }

    /// Copies `bytes` to `offset`.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        for (index, &byte) in bytes.iter().enumerate() {
            self.write(offset + index, byte);
        }
    }

    /// Copies `len` bytes from `offset`.
    pub fn get(&self, offset: usize, len: usize) -> Vec<u8> {
        (offset..offset + len).map(|at| self.read(at)).collect()
    }

    /// The words of the first `count` pages.
    pub fn words(&self, count: usize) -> Vec<u64> {
        assert!(count * PAGE <= self.len);
        let base = self.base.cast::<u64>();
        // SAFETY: in bounds of the mapping, which lives as long as `self` and begins at a page; volatile, as others may
        // write it.
        (0..count * PAGE / 8).map(|index| unsafe { base.add(index).read_volatile() }).collect()
    }

    /// The little-endian word at `offset`.
    pub fn word(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.get(offset, 8));
        u64::from_le_bytes(bytes)
    }

    /// Fills all pages, from the first byte to the last, with a pattern that `seed` tells from others.
    pub fn fill(&self, seed: u8) {
        for offset in 0..self.len {
            self.write(offset, pattern(seed, offset));
        }
    }

    /// Whether the last byte is that of this pattern.
    pub fn ends_with(&self, seed: u8) -> bool {
        self.len.checked_sub(1).is_some_and(|last| self.read(last) == pattern(seed, last))
    }

    /// The first offset at which the content differs from that pattern.
    pub fn mismatch(&self, seed: u8) -> Option<usize> {
        (0..self.len).find(|&offset| self.read(offset) != pattern(seed, offset))
    }
}

fn pattern(seed: u8, offset: usize) -> u8 {
    let [low, high, ..] = offset.to_le_bytes();
    low.wrapping_mul(31).wrapping_add(high).wrapping_add(seed)
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is the whole of our own mapping, to which no reference can remain.
        let unmapped = unsafe { munmap(self.base.cast(), self.len) };
        unmapped.expect("a whole mapping can be unmapped");
    }
}
