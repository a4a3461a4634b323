//! Address space of this process: mapped, and unmapped when the value goes.
//!
//! What is mapped may be written by others at any time. So the only way in is a [`VolatileSlice`], which copies.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous, munmap};
use vm_memory::VolatileSlice;

/// A stretch of mapped memory that this value owns.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<c_void>,
    len: usize,
}

// SAFETY: the memory belongs to the process and not to a thread, the value owns it alone, and all access through it is
// by volatile or atomic copies.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives nothing but such copies.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Fresh memory full of zeros.
    ///
    /// # Errors
    /// What `mmap` answers; `EINVAL` for no bytes.
    pub fn anonymous(len: usize) -> Result<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: with no address given, the kernel chooses a place where nothing is mapped.
        let address = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        Mapping::own(address, len)
    }

    /// A shared mapping of a device file. Where the file wants a call to fill the mapping, an access before that is a
    /// fault: the caller must not let the value out until then.
    pub(super) fn of_file(file: BorrowedFd<'_>, len: usize) -> Result<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: with no address given, the kernel chooses a place where nothing is mapped.
        let address = unsafe { mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) }?;
        Mapping::own(address, len)
    }

    /// Keeps the pages in memory, so that an access by the hypervisor finds them.
    pub(super) fn lock(&self) -> Result<()> {
        // SAFETY: the range is mapped and this value's own; locking changes no contents.
        unsafe { mlock(self.address.as_ptr(), self.len) }
    }

    fn own(address: *mut c_void, len: usize) -> Result<Mapping> {
        Ok(Mapping { address: NonNull::new(address).ok_or(Errno::FAULT)?, len })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing, which no mapping is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is in this process. Only for calls that take addresses.
    pub fn address(&self) -> u64 {
        self.address.as_ptr().addr() as u64
    }

    /// The way to its contents.
    #[inline]
    pub fn slice(&self) -> VolatileSlice<'_> {
        // SAFETY: `len` bytes from `address` are mapped until this value is dropped, which the slice's lifetime comes
        // before, and no Rust reference into them is ever made.
        unsafe { VolatileSlice::new(self.address.as_ptr().cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this value's own and all slices of it are gone.
        // A failure leaves it mapped, which harms nothing.
        let _ = unsafe { munmap(self.address.as_ptr(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn fresh_memory_is_zero_and_keeps_what_is_written() {
        let mapping = Mapping::anonymous(8192).unwrap();
        assert_eq!(mapping.slice().read_obj::<u64>(4096).unwrap(), 0);
        mapping.slice().write_obj(7u64, 8184).unwrap();
        assert_eq!(mapping.slice().read_obj::<u64>(8184).unwrap(), 7);
        assert!(mapping.slice().read_obj::<u64>(8185).is_err());
    }

    #[test]
    fn nothing_is_no_mapping() {
        assert!(Mapping::anonymous(0).is_err());
    }
}
