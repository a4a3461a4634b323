//! Memory for the arguments of hypercalls: whole pages that neither move nor are swapped out.
//!
//! The hypervisor finds an argument by its address in this process and does not wait for a page to come in. Pages of
//! `/dev/xen/hypercall` always are there; where the file is missing, locked memory serves.

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use vm_memory::Bytes;
use xenolith_abi::GuestPtr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Mapping, PAGE_SIZE};
use crate::Error;

/// A hypercall's argument, or an array that an argument points to.
#[derive(Debug)]
pub struct Buffer {
    memory: Mapping,
    len: usize,
    array: Option<Box<Buffer>>,
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
        Ok(Buffer { memory, len, array: None })
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

    /// A buffer that holds a value with a pointer to an array, which is kept as long as the buffer: `value` makes it of the
    /// pointer.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn with_array<T, S>(elements: &[T], value: impl FnOnce(GuestPtr<T>) -> S) -> Result<Buffer, Error>
    where
        T: IntoBytes + Immutable,
        S: IntoBytes + Immutable,
    {
        let array = Buffer::of(elements)?;
        let buffer = Buffer::of(&value(GuestPtr::new(array.address())))?;
        Ok(Buffer { array: Some(Box::new(array)), ..buffer })
    }

    /// Copies the first elements of the array out, as the hypervisor leaves them.
    ///
    /// # Errors
    /// There is no array, or it has fewer elements.
    pub fn read_array<T: FromBytes>(&self, count: usize) -> Result<Vec<T>, Error> {
        let array = self.array.as_ref().ok_or_else(past_the_end)?;
        let size = size_of::<T>();
        let bytes = array.read_bytes(0, count.checked_mul(size).ok_or_else(past_the_end)?)?;
        let elements = bytes.chunks_exact(size.max(1)).map(T::read_from_bytes);
        elements.map(|element| element.map_err(|_| past_the_end())).collect()
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
    use xenolith_abi::Port;
    use xenolith_abi::sched::Poll;

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
    fn an_array_lives_on_and_is_pointed_to() {
        let ports = [Port(7), Port(9)];
        let poll = |ports| Poll { ports, nr_ports: 2, ..Poll::default() };
        let buffer = Buffer::with_array(&ports, poll).unwrap();
        let pointer = buffer.read::<Poll>(0).unwrap().ports;
        assert_eq!(pointer.address(), buffer.array.as_ref().unwrap().address());
        assert_eq!(buffer.read::<Poll>(0).unwrap().nr_ports, 2);
        assert_eq!(buffer.read_array::<Port>(2).unwrap(), ports);
        assert_eq!(buffer.read_array::<Port>(1).unwrap(), ports[..1]);
        assert!(buffer.read_array::<Port>(3).is_err());
        assert!(buffer.read_array::<Port>(usize::MAX).is_err());
        assert!(Buffer::new(8).unwrap().read_array::<Port>(0).is_err(), "no array");
    }
}
