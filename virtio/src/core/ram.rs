//! A guest's RAM as rust-vmm's `vm-memory` sees it: regions that own their mapping.
//!
//! A region is unmapped when its last holder drops it, so that no access can come later. That is why the regions are
//! our own type and not `GuestRegionMmap`, which hands out mappings that outlive it. What is behind a region is the
//! carrier's ([`Backing`]): it may map a part only when it is touched, and refuse an access to what it cannot map.

mod runs;

use std::sync::Arc;

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error as AccessError, Result as AccessResult};
use vm_memory::region::GuestMemoryRegionBytes;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestUsize, MemoryRegionAddress, MmapRegion,
    VolatileMemory, VolatileSlice,
};

use runs::Runs;

/// Why regions do not make a memory.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// There are none.
    #[error("a memory without regions")]
    Empty,
    /// They overlap or are out of order.
    #[error("regions of memory that overlap or are out of order")]
    Order,
    /// One is empty, or ends past the address space.
    #[error("memory past the end of the address space, or no bytes of it")]
    Place,
    /// There is no room for fresh memory.
    #[error("cannot make memory: {0}")]
    Room(String),
}

/// Where a region's bytes are in this process. They stay there while the value lives.
pub trait Backing: std::fmt::Debug + Send + Sync {
    /// The way to `count` bytes at an offset. `None`: not all of them can be reached.
    fn slice(&self, offset: usize, count: usize) -> Option<VolatileSlice<'_>>;
}

impl Backing for MmapRegion<()> {
    fn slice(&self, offset: usize, count: usize) -> Option<VolatileSlice<'_>> {
        self.get_slice(offset, count).ok()
    }
}

/// A guest's memory: what `virtio-queue` and others take. A copy keeps the same pages mapped. To look an address up
/// takes the same time however many regions there are.
#[derive(Clone, Debug, Default)]
pub struct Ram {
    regions: Vec<RamRegion>,
    runs: Runs,
}

impl Ram {
    /// The memory that these regions are.
    ///
    /// # Errors
    /// [`RamError::Empty`], [`RamError::Order`]
    pub fn new(regions: Vec<RamRegion>) -> Result<Ram, RamError> {
        let banks = regions.iter().map(|region| Bank { base: region.base.0, size: region.len });
        match Runs::of(banks) {
            Some(runs) if !regions.is_empty() => Ok(Ram { regions, runs }),
            Some(_) => Err(RamError::Empty),
            None => Err(RamError::Order),
        }
    }
}

impl GuestMemoryBackend for Ram {
    type R = RamRegion;

    fn num_regions(&self) -> usize {
        self.regions.len()
    }

    #[inline]
    fn find_region(&self, address: GuestAddress) -> Option<&RamRegion> {
        self.runs.find(address.0).and_then(|place| self.regions.get(place))
    }

    fn iter(&self) -> impl Iterator<Item = &RamRegion> {
        self.regions.iter()
    }
}

/// A stretch of guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// The first address.
    pub base: u64,
    /// Bytes of the bank.
    pub size: u64,
}

/// Fresh memory full of zeros: for tests, or for a guest that is not in another domain.
///
/// # Errors
/// [`RamError`]
pub fn zeroed(banks: &[Bank]) -> Result<Ram, RamError> {
    let regions = banks.iter().map(|&bank| RamRegion::anonymous(bank));
    Ram::new(regions.collect::<Result<_, _>>()?)
}

/// A stretch of a guest's memory. A copy keeps the same pages mapped.
#[derive(Clone, Debug)]
pub struct RamRegion {
    base: GuestAddress,
    /// Bytes; not 0, and the end is below that of the address space.
    len: u64,
    backing: Arc<dyn Backing>,
}

impl RamRegion {
    /// Puts bytes at a guest physical address.
    ///
    /// # Errors
    /// [`RamError::Place`]
    pub fn new(bank: Bank, backing: Arc<dyn Backing>) -> Result<RamRegion, RamError> {
        if bank.size == 0 || bank.base.checked_add(bank.size).is_none() {
            return Err(RamError::Place);
        }
        Ok(RamRegion { base: GuestAddress(bank.base), len: bank.size, backing })
    }

    /// Fresh memory full of zeros, at a guest physical address.
    ///
    /// # Errors
    /// [`RamError::Place`], [`RamError::Room`]
    pub fn anonymous(bank: Bank) -> Result<RamRegion, RamError> {
        let len = usize::try_from(bank.size).map_err(|_| RamError::Place)?;
        if len == 0 {
            return Err(RamError::Place);
        }
        let mapping = MmapRegion::<()>::new(len).map_err(|error| RamError::Room(error.to_string()))?;
        RamRegion::new(bank, Arc::new(mapping))
    }
}

impl GuestMemoryRegion for RamRegion {
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
        self.backing.slice(offset, count).ok_or(AccessError::InvalidBackendAddress)
    }
}

impl GuestMemoryRegionBytes for RamRegion {}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemory, Permissions};

    fn two_banks() -> Ram {
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
        assert!(RamRegion::anonymous(Bank { base: u64::MAX - 0xfff, size: 0x1000 }).is_err());
        assert!(RamRegion::anonymous(Bank { base: 0, size: 0 }).is_err());
        let bank = Bank { base: 0, size: 0x1000 };
        assert!(zeroed(&[bank, bank]).is_err());
        assert!(zeroed(&[]).is_err());
    }
}
