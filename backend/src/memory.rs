//! Memory of a guest as rust-vmm's `vm-memory` sees it: regions that own their mapping.
//!
//! A region is unmapped when its last holder drops it, so that no access can come later. That is why the regions are
//! our own type and not `GuestRegionMmap`, which hands out mappings that outlive it. A region of another domain is mapped
//! when it is first touched, and an access to a part of it that cannot be mapped fails.

mod runs;

use std::sync::Arc;

use rustix::io::Errno;
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error as AccessError, Result as AccessResult};
use vm_memory::region::GuestMemoryRegionBytes;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use crate::Error;
use crate::xen::Chunk;
use crate::xen::map::Mapping;
use runs::Runs;

/// A guest's memory: what `virtio-queue` and others take. A copy keeps the same pages mapped. To look an address up
/// takes the same time however many regions there are.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    regions: Vec<Arc<Region>>,
    runs: Runs,
}

impl Memory {
    /// The memory that these regions are.
    ///
    /// # Errors
    /// There are none, or they overlap or are out of order.
    pub fn from_arc_regions(regions: Vec<Arc<Region>>) -> Result<Memory, Error> {
        let banks = regions.iter().map(|region| Bank { base: region.base.0, size: region.len });
        match Runs::of(banks) {
            Some(runs) if !regions.is_empty() => Ok(Memory { regions, runs }),
            Some(_) => Err(Error::unfit("a memory without regions")),
            None => Err(Error::unfit("regions of memory that overlap or are out of order")),
        }
    }

    /// Its regions, in order.
    pub(crate) fn regions(&self) -> &[Arc<Region>] {
        &self.regions
    }
}

impl GuestMemoryBackend for Memory {
    type R = Region;

    fn num_regions(&self) -> usize {
        self.regions.len()
    }

    #[inline]
    fn find_region(&self, address: GuestAddress) -> Option<&Region> {
        self.runs.find(address.0).and_then(|place| self.regions.get(place)).map(Arc::as_ref)
    }

    fn iter(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().map(Arc::as_ref)
    }
}

/// A stretch of guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// The first address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Fresh memory full of zeros: for tests, or for a guest that is not in another domain.
///
/// # Errors
/// There is no room, or the banks overlap or are out of order.
pub fn zeroed(banks: &[Bank]) -> Result<Memory, Error> {
    let regions = banks.iter().map(|&bank| Region::anonymous(bank).map(Arc::new));
    Memory::from_arc_regions(regions.collect::<Result<_, _>>()?)
}

/// A stretch of a guest's memory.
#[derive(Debug)]
pub struct Region {
    base: GuestAddress,
    /// Bytes; not 0, and the end is below that of the address space.
    len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Own(Mapping),
    Guest(Chunk),
}

impl Region {
    /// Memory of another domain, which is mapped when it is first touched.
    pub(crate) fn of_guest(chunk: Chunk) -> Region {
        let Bank { base, size: len } = chunk.bank();
        Region { base: GuestAddress(base), len, content: Content::Guest(chunk) }
    }

    /// The memory of another domain, if it is that.
    pub(crate) fn chunk(&self) -> Option<&Chunk> {
        match &self.content {
            Content::Guest(chunk) => Some(chunk),
            Content::Own(_) => None,
        }
    }

    /// Puts a mapping at a guest physical address; `None` if it does not fit below the end of the address space.
    fn new(base: u64, mapping: Mapping) -> Option<Region> {
        let len = u64::try_from(mapping.len()).ok().filter(|&len| len > 0)?;
        base.checked_add(len)?;
        Some(Region { base: GuestAddress(base), len, content: Content::Own(mapping) })
    }

    /// Fresh memory full of zeros, at a guest physical address.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn anonymous(bank: Bank) -> Result<Region, Error> {
        let len = usize::try_from(bank.size).ok().filter(|&len| len > 0);
        let mapping = len.ok_or(Errno::INVAL).and_then(Mapping::anonymous);
        let mapping = mapping.map_err(|source| Error::call("make memory", source))?;
        Region::new(bank.base, mapping)
            .ok_or_else(|| Error::unfit("memory past the end of the address space"))
    }
}

impl GuestMemoryRegion for Region {
    type B = ();

    #[inline]
    fn len(&self) -> GuestUsize {
        self.len
    }

    #[inline]
    fn start_addr(&self) -> GuestAddress {
        self.base
    }

    fn bitmap(&self) -> BS<'_, ()> {}

    #[inline]
    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> AccessResult<VolatileSlice<'_, BS<'_, ()>>> {
        let offset = usize::try_from(offset.0).map_err(|_| AccessError::InvalidBackendAddress)?;
        match &self.content {
            Content::Own(mapping) => Ok(mapping.slice().subslice(offset, count)?),
            Content::Guest(chunk) => chunk.slice(offset, count).ok_or(AccessError::InvalidBackendAddress),
        }
    }
}

impl GuestMemoryRegionBytes for Region {}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemory, Permissions};

    fn two_banks() -> Memory {
        let banks = [Bank { base: 0x4000_0000, size: 0x2000 }, Bank { base: 0x4000_2000, size: 0x1000 }];
        zeroed(&banks).unwrap()
    }

    #[test]
    fn an_access_crosses_from_region_to_region() {
        let memory = two_banks();
        let data: Vec<u8> = (0..64).collect();
        memory.write_slice(&data, GuestAddress(0x4000_1fe0)).unwrap();
        let mut back = vec![0; 64];
        memory.read_slice(&mut back, GuestAddress(0x4000_1fe0)).unwrap();
        assert_eq!(data, back);
        let slices = GuestMemory::get_slices(&memory, GuestAddress(0x4000_1fe0), 64, Permissions::Read);
        assert_eq!(slices.unwrap().map(|slice| slice.unwrap().len()).collect::<Vec<_>>(), [32, 32]);
    }

    #[test]
    fn no_access_goes_past_the_end() {
        let memory = two_banks();
        assert!(memory.write_obj(1u64, GuestAddress(0x4000_2ff8)).is_ok());
        assert!(memory.write_obj(1u64, GuestAddress(0x4000_2ff9)).is_err());
        assert!(memory.read_obj::<u8>(GuestAddress(0x3fff_ffff)).is_err());
        assert!(memory.read_obj::<u8>(GuestAddress(u64::MAX)).is_err());
        assert!(memory.find_region(GuestAddress(0x4000_3000)).is_none());
    }

    #[test]
    fn a_region_fits_into_the_address_space() {
        assert!(Region::anonymous(Bank { base: u64::MAX - 0xfff, size: 0x1000 }).is_err());
        assert!(Region::anonymous(Bank { base: 0, size: 0 }).is_err());
        let bank = Bank { base: 0, size: 0x1000 };
        assert!(zeroed(&[bank, bank]).is_err());
        assert!(zeroed(&[]).is_err());
    }
}
