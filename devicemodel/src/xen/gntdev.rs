//! `/dev/xen/gntdev`: pages that other domains granted to this one (`xen/gntdev.h` of Linux).
//!
//! To Linux these are pages like its own, with a machine address that it knows: it can pin them and have devices read and
//! write them, which it cannot with what privcmd maps.
#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use vm_memory::VolatileSlice;

use super::ioctl::{call, call_list, number};
use super::{Mapping, PAGE_SIZE, open};
use crate::Error;

const MAP: u32 = number(b'G', 0, size_of::<MapHeader>() + size_of::<GrantRef>());
const UNMAP: u32 = number(b'G', 1, size_of::<Unmap>());

/// The most pages of one mapping here: 128 MiB, half of what Linux takes by default.
pub const MAX_PAGES: usize = 32768;

#[repr(C)]
#[allow(dead_code)]
struct GrantRef {
    domain: u32,
    reference: u32,
}

#[repr(C)]
#[allow(dead_code)]
struct MapHeader {
    count: u32,
    pad: u32,
    index: u64,
}

/// Words of eight bytes in a header, and the one that is `index`.
const HEADER_WORDS: usize = size_of::<MapHeader>() / size_of::<u64>();
const INDEX_WORD: usize = offset_of!(MapHeader, index) / size_of::<u64>();

#[repr(C)]
struct Unmap {
    index: u64,
    count: u32,
    pad: u32,
}

/// The open file.
#[derive(Clone, Debug)]
pub struct Gntdev {
    file: Arc<OwnedFd>,
}

impl Gntdev {
    /// Opens it.
    ///
    /// # Errors
    /// The file is missing or denied.
    pub fn open() -> Result<Gntdev, Error> {
        let file = open("/dev/xen/gntdev", OFlags::empty(), "load the kernel's module xen-gntdev")?;
        Ok(Gntdev { file: Arc::new(file) })
    }

    /// Maps pages that `domain` granted, for reading and writing, in the order of their references.
    ///
    /// # Errors
    /// A page is not granted, or more than [`MAX_PAGES`] are asked for. All are mapped or none.
    pub fn map(&self, domain: u16, references: &[u32]) -> Result<GrantMapping, Error> {
        let failed = |source| Error::domain(domain, "map pages that it granted", source);
        let count = u32::try_from(references.len()).map_err(|_| failed(Errno::TOOBIG))?;
        if references.is_empty() || references.len() > MAX_PAGES {
            return Err(failed(Errno::INVAL));
        }
        let mut argument = vec![0; HEADER_WORDS];
        if let Some(first) = argument.first_mut() {
            *first = words(count, 0);
        }
        argument.extend(references.iter().map(|&reference| words(domain.into(), reference)));
        // SAFETY: this is gntdev, whose `ioctl_gntdev_map_grant_ref` is a `MapHeader` and `count` entries `GrantRef`.
        // `argument` is just that in words of eight bytes: two for the header and one for each entry. It holds no
        // address, and the driver writes only to the header's `index`.
        unsafe { call_list(self.file.as_fd(), MAP, &mut argument) }.map_err(failed)?;
        let index = argument.get(INDEX_WORD).copied().ok_or_else(|| failed(Errno::IO))?;
        // Dropped from here on, it is taken back.
        let mut pages = GrantMapping { device: self.clone(), mapping: None, index, count };
        let mapping = Mapping::of_file(self.file.as_fd(), references.len() * PAGE_SIZE, index);
        pages.mapping = Some(mapping.map_err(failed)?);
        Ok(pages)
    }
}

/// Two neighbouring numbers of a structure, as one word of it.
fn words(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Mapped pages of another domain. They are given back when the value goes.
#[derive(Debug)]
pub struct GrantMapping {
    device: Gntdev,
    mapping: Option<Mapping>,
    index: u64,
    count: u32,
}

impl GrantMapping {
    /// The way to the pages' contents. The other domain may change them at any time.
    #[inline]
    pub fn slice(&self) -> VolatileSlice<'_> {
        match &self.mapping {
            Some(mapping) => mapping.slice(),
            None => VolatileSlice::from(&mut [][..]),
        }
    }
}

impl Drop for GrantMapping {
    fn drop(&mut self) {
        // Linux gives the pages back when both the mapping and the record are gone.
        drop(self.mapping.take());
        let mut argument = Unmap { index: self.index, count: self.count, pad: 0 };
        // SAFETY: this is gntdev and the structure is its `ioctl_gntdev_unmap_grant_ref`, which holds no address; the
        // pages are not mapped here any more.
        // A failure leaves them with this file until it is closed.
        let _ = unsafe { call(self.device.file.as_fd(), UNMAP, &mut argument) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!(MAP, 0x18_4700);
        assert_eq!(UNMAP, 0x10_4701);
    }

    #[test]
    fn layouts_are_those_of_linux() {
        assert_eq!([size_of::<MapHeader>(), size_of::<GrantRef>(), size_of::<Unmap>()], [16, 8, 16]);
        assert_eq!([offset_of!(MapHeader, count), offset_of!(MapHeader, index)], [0, 8]);
        assert_eq!([offset_of!(GrantRef, domain), offset_of!(GrantRef, reference)], [0, 4]);
        assert_eq!(words(1, 2).to_ne_bytes(), [1u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat()[..]);
    }
}
