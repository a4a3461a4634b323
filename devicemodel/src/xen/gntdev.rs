//! `/dev/xen/gntdev`: pages that other domains granted to this one (`xen/gntdev.h` of Linux).
#![allow(unsafe_code)]

use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use vm_memory::VolatileSlice;

use super::ioctl::{call, number};
use super::{Mapping, PAGE_SIZE, open};
use crate::Error;

const MAP: u32 = number(b'G', 0, size_of::<MapHeader>() + size_of::<GrantRef>());
const UNMAP: u32 = number(b'G', 1, size_of::<Unmap>());

/// The most pages of one mapping here.
const MAX_PAGES: usize = 256;

#[derive(Clone, Copy)]
#[repr(C)]
struct GrantRef {
    domain: u32,
    reference: u32,
}

#[repr(C)]
struct MapHeader {
    count: u32,
    pad: u32,
    index: u64,
}

#[repr(C)]
struct Map {
    header: MapHeader,
    references: [GrantRef; MAX_PAGES],
}

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
    /// A page is not granted, or more than 256 are asked for.
    pub fn map(&self, domain: u16, references: &[u32]) -> Result<GrantMapping, Error> {
        let failed = |source| Error::domain(domain, "map pages that it granted", source);
        let count = u32::try_from(references.len()).map_err(|_| failed(Errno::TOOBIG))?;
        if references.is_empty() || references.len() > MAX_PAGES {
            return Err(failed(Errno::INVAL));
        }
        let mut argument = Map {
            header: MapHeader { count, pad: 0, index: 0 },
            references: [GrantRef { domain: u32::from(domain), reference: 0 }; MAX_PAGES],
        };
        for (place, &reference) in argument.references.iter_mut().zip(references) {
            place.reference = reference;
        }
        // SAFETY: this is gntdev and the structure is its `ioctl_gntdev_map_grant_ref` with room for `count`
        // references and more; it holds no address.
        unsafe { call(self.file.as_fd(), MAP, &mut argument) }.map_err(failed)?;
        let index = argument.header.index;
        // Dropped from here on, it is taken back.
        let mut pages = GrantMapping { device: self.clone(), mapping: None, index, count };
        let mapping = Mapping::of_file(self.file.as_fd(), references.len() * PAGE_SIZE, index);
        pages.mapping = Some(mapping.map_err(failed)?);
        Ok(pages)
    }
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
}
