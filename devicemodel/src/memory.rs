//! Memory of a guest as rust-vmm's `vm-memory` sees it: regions that own their mapping.
//!
//! A region is unmapped when its last holder drops it, so that no access can come later. That is why the regions are
//! our own type and not `GuestRegionMmap`, which hands out mappings that outlive it. A region of another domain is mapped
//! when it is first touched, and an access to a part of it that cannot be mapped fails.

use rustix::io::Errno;
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error as AccessError, Result as AccessResult};
use vm_memory::region::GuestMemoryRegionBytes;
use vm_memory::{
    GuestAddress, GuestMemoryRegion, GuestRegionCollection, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use crate::Error;
use crate::ram::Chunk;
use crate::xen::map::Mapping;

/// A guest's memory: what `virtio-queue` and others take. A copy is cheap and keeps the same pages mapped.
pub type Memory = GuestRegionCollection<Region>;

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
    let regions = banks.iter().map(|&bank| Region::anonymous(bank)).collect::<Result<Vec<_>, _>>()?;
    Memory::from_regions(regions).map_err(|error| Error::unfit(error.to_string()))
}

/// A stretch of a guest's memory.
#[derive(Debug)]
pub struct Region {
    base: GuestAddress,
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
        Region { base: GuestAddress(chunk.bank().base), content: Content::Guest(chunk) }
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
        Some(Region { base: GuestAddress(base), content: Content::Own(mapping) })
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

    fn len(&self) -> GuestUsize {
        match &self.content {
            Content::Own(mapping) => mapping.len() as GuestUsize,
            Content::Guest(chunk) => chunk.bank().size,
        }
    }

    fn start_addr(&self) -> GuestAddress {
        self.base
    }

    fn bitmap(&self) -> BS<'_, ()> {}

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
    use vm_memory::{Bytes, GuestMemory, GuestMemoryBackend, Permissions};

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
    }
}
