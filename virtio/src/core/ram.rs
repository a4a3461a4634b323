//! A guest's RAM as rust-vmm's `vm-memory` sees it: regions that own their mapping.
//!
//! A region is unmapped when its last holder drops it, so that no access can come later. That is why the regions are
//! our own type and not `GuestRegionMmap`, which hands out mappings that outlive it. What is behind a region is the
//! carrier's ([`Backing`]): it may map a part only when it is touched, and refuse an access to what it cannot map.

mod runs;

use std::ops::Range;
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

/// Pages that left a guest, as a carrier tells of them: those of a range whose classes are in a set. The class of a page is the
/// number of the 2 MiB in which it lies, modulo 64. No page that left is left out; others may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalePages {
    /// Addresses.
    pub range: Range<u64>,
    /// A bit for each class.
    pub classes: u64,
}

impl StalePages {
    /// Any may have left.
    pub const ALL: StalePages = StalePages { range: 0..u64::MAX, classes: u64::MAX };
    /// Bits of an address within 2 MiB.
    const SHIFT: u32 = 21;

    /// Whether one of them may be in a bank.
    pub fn touch(&self, bank: Bank) -> bool {
        let first = self.range.start.max(bank.base);
        let end = self.range.end.min(bank.base.saturating_add(bank.size));
        let Some(last) = end.checked_sub(1).filter(|last| *last >= first) else { return false };
        let (first, last) = (first >> Self::SHIFT, last >> Self::SHIFT);
        // 64 numbers in a row are all classes.
        (first..=last).take(64).any(|number| self.classes & 1 << (number % 64) != 0)
    }
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
    fn pages_that_left_are_in_a_range_and_of_a_class() {
        let bank = |base: u64, size: u64| Bank { base: base << 20, size: size << 20 };
        let one = StalePages { range: 0x4020_3000..0x4020_4000, classes: 1 << 1 };
        assert!(one.touch(bank(0x402, 2)) && one.touch(bank(0x400, 4)) && one.touch(bank(0x402, 1)));
        assert!(!one.touch(bank(0x400, 2)) && !one.touch(bank(0x404, 2)) && !one.touch(bank(0x403, 1)));
        let far = StalePages { range: 0x4000_0000..0x8000_0000, classes: 1 | 1 << 63 };
        assert!(far.touch(bank(0x400, 2)) && !far.touch(bank(0x402, 2)) && far.touch(bank(0x47e, 2)));
        assert!(far.touch(bank(0x402, 128)) && far.touch(bank(0, 4096)));
        assert!(StalePages::ALL.touch(bank(0, 1)) && StalePages::ALL.touch(bank(1 << 40, 2)));
        assert!(!StalePages { range: 5..5, classes: u64::MAX }.touch(bank(0, 1)));
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
