//! Reaching the caller's memory by the pointers that it passes.
//!
//! A pointer says what type is behind it, so the size of what is copied is nobody's choice here. An address that stands in
//! an argument's register has no type yet: it takes that of the structure which the call's number asks for.
//!
//! An address means something only through the caller's own tables and its p2m, asked page by page; what is behind it
//! is copied, never borrowed (ABI: pointers are of the calling context, kernel's or user's). The copying stands in the
//! image once: what is made for each type is only a call of it.

use xenolith_abi::{Errno, GuestPtr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use xenolith_arch as arch;
use xenolith_core::types::{Gva, PAGE_SIZE};

use crate::caller::Caller;

impl Caller<'_> {
    /// Copies a structure in.
    pub fn read<T: FromBytes + IntoBytes>(&self, from: impl Into<GuestPtr<T>>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(from.into().cast(), value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a structure out.
    pub fn write<T: IntoBytes + Immutable>(
        &self,
        to: impl Into<GuestPtr<T>>,
        value: &T,
    ) -> Result<(), Errno> {
        self.write_bytes(to.into().cast(), value.as_bytes())
    }

    /// Where element `index` of an array is. `EFAULT`: past the end of all addresses.
    pub fn element<T>(array: GuestPtr<T>, index: u64) -> Result<GuestPtr<T>, Errno> {
        array.element(index).ok_or(Errno::EFAULT)
    }

    /// Copies element `index` of an array in.
    pub fn read_element<T: FromBytes + IntoBytes>(&self, array: GuestPtr<T>, index: u64) -> Result<T, Errno> {
        self.read(Self::element(array, index)?)
    }

    /// Copies element `index` of an array out.
    pub fn write_element<T: IntoBytes + Immutable>(
        &self,
        array: GuestPtr<T>,
        index: u64,
        value: &T,
    ) -> Result<(), Errno> {
        self.write(Self::element(array, index)?, value)
    }

    /// Copies bytes in; on failure a part may have been copied.
    #[inline(never)]
    pub fn read_bytes(&self, from: GuestPtr<u8>, into: &mut [u8]) -> Result<(), Errno> {
        let mut address = from.address();
        let mut rest = into;
        while !rest.is_empty() {
            let length = chunk(address, rest.len());
            let (now, later) = rest.split_at_mut(length);
            let ipa = arch::translate(Gva(address), false).ok_or(Errno::EFAULT)?;
            self.domain().read_memory(ipa, now)?;
            address = next(address, length, later.is_empty())?;
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes out; on failure a part may have been copied.
    #[inline(never)]
    pub fn write_bytes(&self, to: GuestPtr<u8>, from: &[u8]) -> Result<(), Errno> {
        let mut address = to.address();
        let mut rest = from;
        while !rest.is_empty() {
            let length = chunk(address, rest.len());
            let (now, later) = rest.split_at(length);
            let ipa = arch::translate(Gva(address), true).ok_or(Errno::EFAULT)?;
            self.domain().write_memory(ipa, now)?;
            address = next(address, length, later.is_empty())?;
            rest = later;
        }
        Ok(())
    }
}

/// How much of `length` bytes lies in the page of `address`.
fn chunk(address: u64, length: usize) -> usize {
    let in_page = PAGE_SIZE - address % PAGE_SIZE;
    length.min(in_page as usize)
}

/// The address behind `length` bytes; it may wrap only when nothing follows.
fn next(address: u64, length: usize, last: bool) -> Result<u64, Errno> {
    match address.checked_add(length as u64) {
        Some(next) => Ok(next),
        None if last => Ok(0),
        None => Err(Errno::EFAULT),
    }
}
