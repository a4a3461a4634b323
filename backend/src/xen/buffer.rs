//! Memory for the arguments of hypercalls: whole pages that neither move nor are swapped out.
//!
//! The hypervisor finds an argument by its address in this process and does not wait for a page to come in. Pages of
//! `/dev/xen/hypercall` always are there; where the file is missing, locked memory serves.

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use vm_memory::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Mapping, PAGE_SIZE};
use crate::Error;

/// A hypercall's argument, or something that an argument points to.
#[derive(Debug)]
pub struct Buffer {
    memory: Mapping,
    len: usize,
    linked: Vec<Buffer>,
}

impl Buffer {
    /// A buffer of this many bytes, all zero.
    ///
    /// # Errors
    /// There is no memory that can be locked.
    pub fn new(len: usize) -> Result<Buffer, Error> {
        let pages = len.max(1).checked_next_multiple_of(PAGE_SIZE);
        let size = pages.ok_or_else(|| Error::unfit("a hypercall buffer larger than memory"))?;
        let memory = pinned(size).or_else(|_| locked(size));
        let memory = memory.map_err(|source| Error::call("lock memory for a hypercall", source))?;
        // Linux lets a page be written from the first write on, which must not be the hypervisor's: it gets no fault.
        for page in (0..size).step_by(PAGE_SIZE) {
            memory.slice().write_obj(0u64, page).map_err(|_| past_the_end())?;
        }
        Ok(Buffer { memory, len, linked: Vec::new() })
    }

    /// A buffer that holds a value.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn of<T: IntoBytes + Immutable + ?Sized>(value: &T) -> Result<Buffer, Error> {
        let bytes = value.as_bytes();
        let buffer = Buffer::new(bytes.len())?;
        buffer.write_bytes(0, bytes)?;
        Ok(buffer)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its address in this process, for the hypervisor.
    pub fn address(&self) -> u64 {
        self.memory.address()
    }

    /// Puts a value at an offset.
    ///
    /// # Errors
    /// It does not fit.
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) -> Result<(), Error> {
        self.write_bytes(offset, value.as_bytes())
    }

    /// Puts bytes at an offset.
    ///
    /// # Errors
    /// They do not fit.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len())?;
        self.memory.slice().write_slice(bytes, offset).map_err(|_| past_the_end())
    }

    /// Copies a value out.
    ///
    /// # Errors
    /// It would lie past the end.
    pub fn read<T: FromBytes>(&self, offset: usize) -> Result<T, Error> {
        let bytes = self.read_bytes(offset, size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| past_the_end())
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// They would lie past the end.
    pub fn read_bytes(&self, offset: usize, count: usize) -> Result<Vec<u8>, Error> {
        self.check(offset, count)?;
        let mut bytes = vec![0; count];
        self.memory.slice().read_slice(&mut bytes, offset).map_err(|_| past_the_end())?;
        Ok(bytes)
    }

    /// Puts the address of another buffer at an offset, and keeps that buffer as long as this one. Returns its index.
    ///
    /// # Errors
    /// The address does not fit.
    pub fn link(&mut self, offset: usize, buffer: Buffer) -> Result<usize, Error> {
        self.write(offset, &buffer.address())?;
        self.linked.push(buffer);
        Ok(self.linked.len() - 1)
    }

    /// A buffer that was linked.
    pub fn linked(&self, index: usize) -> Option<&Buffer> {
        self.linked.get(index)
    }

    fn check(&self, offset: usize, count: usize) -> Result<(), Error> {
        let end = offset.checked_add(count).filter(|&end| end <= self.len);
        end.map(drop).ok_or_else(past_the_end)
    }
}

fn past_the_end() -> Error {
    Error::unfit("past the end of a hypercall buffer")
}

/// Pages of the kernel.
fn pinned(size: usize) -> rustix::io::Result<Mapping> {
    let file = rustix::fs::open("/dev/xen/hypercall", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    Mapping::of_file(file.as_fd(), size)
}

/// Pages of this process, locked.
fn locked(size: usize) -> rustix::io::Result<Mapping> {
    let memory = Mapping::anonymous(size)?;
    memory.lock()?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_in_and_out() {
        let buffer = Buffer::of(&[1u32, 2, 3]).unwrap();
        assert_eq!(buffer.len(), 12);
        assert_eq!(buffer.read::<u32>(8).unwrap(), 3);
        buffer.write(4, &9u32).unwrap();
        assert_eq!(buffer.read::<[u32; 3]>(0).unwrap(), [1, 9, 3]);
        assert!(buffer.read::<u32>(9).is_err());
        assert!(buffer.write_bytes(usize::MAX, &[1]).is_err());
        assert_eq!(buffer.address() % PAGE_SIZE as u64, 0);
    }

    #[test]
    fn a_linked_buffer_lives_on_and_is_pointed_to() {
        let mut buffer = Buffer::new(16).unwrap();
        let index = buffer.link(8, Buffer::of(&7u64).unwrap()).unwrap();
        let linked = buffer.linked(index).unwrap();
        assert_eq!(buffer.read::<u64>(8).unwrap(), linked.address());
        assert_eq!(linked.read::<u64>(0).unwrap(), 7);
        assert!(buffer.link(9, Buffer::new(1).unwrap()).is_err());
    }
}
