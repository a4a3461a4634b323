//! Translation tables (Arm ARM, D8): each address that is used at all translates to itself.
//!
//! What they are for is the attributes. Without them all memory is Device memory: no caches, no unaligned accesses, no
//! exclusives; and what another domain reads of this one's memory, it reads through its caches. So RAM becomes Normal
//! memory, registers stay Device memory, and the rest is not there, so that a stray pointer is an exception.

use core::ops::Range;

/// Bits of an address: with 39, the first look-up is at level 1.
pub const ADDRESS_BITS: u32 = 39;
/// MAIR_EL1 for the attributes below: Device-nGnRE, and Normal memory in write-back caches.
pub const MAIR: u64 = 0x04 | 0xff << 8;
/// Tables of level 2, each for 1 GiB.
const LEAVES: usize = 8;
const ENTRIES: usize = 512;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;

const VALID: u64 = 1;
const TABLE: u64 = VALID | 1 << 1;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// The access flag: without it the first access is an exception.
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const NEVER_EXECUTE: u64 = 1 << 53;

/// What stands at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RAM, from which code may be executed.
    Normal,
    /// Registers.
    Device,
}

impl Kind {
    fn block(self, address: u64) -> u64 {
        const DEVICE_INDEX: u64 = 0;
        const NORMAL_INDEX: u64 = 1 << 2;
        let attributes = match self {
            Kind::Normal => NORMAL_INDEX | INNER_SHAREABLE,
            Kind::Device => DEVICE_INDEX | NEVER_EXECUTE,
        };
        address | attributes | ACCESSED | VALID
    }
}

/// Why something cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The address has more than [`ADDRESS_BITS`] bits.
    TooHigh,
    /// No table is left.
    NoTable,
    /// Something of the other kind is within the same 2 MiB.
    Conflict,
}

/// The tables.
#[repr(C, align(4096))]
pub struct Tables {
    root: [u64; ENTRIES],
    leaves: [[u64; ENTRIES]; LEAVES],
    /// How many of `leaves` are in use.
    used: usize,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// Tables in which nothing is.
    pub const fn new() -> Tables {
        Tables { root: [0; ENTRIES], leaves: [[0; ENTRIES]; LEAVES], used: 0 }
    }

    /// Maps the blocks of 2 MiB in which addresses of `range` are. `own` is where the tables themselves are.
    ///
    /// Only entries that were empty are written, so that this can be done while the tables are in use: no TLB holds an
    /// empty entry (D8.16.1). A barrier must follow.
    ///
    /// # Errors
    ///
    /// [`MapError`]; blocks before the one that failed are mapped.
    pub fn map(&mut self, own: u64, range: Range<u64>, kind: Kind) -> Result<(), MapError> {
        if range.end > 1 << ADDRESS_BITS {
            return Err(MapError::TooHigh);
        }
        let mut address = range.start & !(BLOCK - 1);
        while address < range.end {
            let is_whole = address.is_multiple_of(GIB) && range.end - address >= GIB;
            let root = index(address, GIB);
            if is_whole && self.root.get(root) == Some(&0) {
                put(&mut self.root, root, kind.block(address))?;
                address += GIB;
                continue;
            }
            let leaf = self.leaf(own, address, kind)?;
            if let Some(leaf) = leaf {
                put(leaf, index(address, BLOCK), kind.block(address))?;
            }
            address += BLOCK;
        }
        Ok(())
    }

    /// The table of level 2 for an address; `None` if all of its GiB is mapped as it should be.
    fn leaf(&mut self, own: u64, address: u64, kind: Kind) -> Result<Option<&mut [u64; ENTRIES]>, MapError> {
        let first = own + size_of::<[u64; ENTRIES]>() as u64;
        let size = size_of::<[u64; ENTRIES]>() as u64;
        let root = self.root.get_mut(index(address, GIB)).ok_or(MapError::TooHigh)?;
        if *root & TABLE == VALID {
            let same = *root == kind.block(address & !(GIB - 1));
            return if same { Ok(None) } else { Err(MapError::Conflict) };
        }
        if *root == 0 {
            if self.used == LEAVES {
                return Err(MapError::NoTable);
            }
            *root = first + self.used as u64 * size | TABLE;
            self.used += 1;
        }
        let number = ((*root & ADDRESS) - first) / size;
        Ok(self.leaves.get_mut(usize::try_from(number).unwrap_or(LEAVES)))
    }
}

/// Writes an entry that is empty. The same entry again is no error.
fn put(table: &mut [u64; ENTRIES], index: usize, entry: u64) -> Result<(), MapError> {
    let place = table.get_mut(index).ok_or(MapError::TooHigh)?;
    if *place != 0 && *place != entry {
        return Err(MapError::Conflict);
    }
    *place = entry;
    Ok(())
}

fn index(address: u64, size: u64) -> usize {
    usize::try_from(address / size).unwrap_or(usize::MAX) % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: u64 = 0x4020_0000;
    const MIB: u64 = 1 << 20;

    /// What the CPU finds for an address: walks the tables as D8.3 says.
    fn walk(tables: &Tables, address: u64) -> Option<(u64, Kind)> {
        let kind = |entry: u64| if entry & 1 << 2 != 0 { Kind::Normal } else { Kind::Device };
        let entry = tables.root[(address >> 30) as usize];
        let (entry, low) = match entry & 3 {
            0 => return None,
            1 => (entry, address & (GIB - 1)),
            _ => {
                let number = ((entry & ADDRESS) - OWN) / 4096 - 1;
                let entry = tables.leaves[number as usize][(address >> 21 & 511) as usize];
                (entry, address & (BLOCK - 1))
            }
        };
        (entry & 1 != 0).then_some((entry & ADDRESS | low, kind(entry)))
    }

    fn is_at(tables: &Tables, address: u64, kind: Kind) -> bool {
        walk(tables, address) == Some((address, kind))
    }

    #[test]
    fn a_guests_addresses_translate_to_themselves() {
        let mut tables = Tables::new();
        tables.map(OWN, 0x4000_0000..0x4400_0000, Kind::Normal).unwrap();
        tables.map(OWN, 0x300_1000..0x301_1000, Kind::Device).unwrap();
        tables.map(OWN, 0x302_0000..0x402_0000, Kind::Device).unwrap();
        tables.map(OWN, 0x3900_0000..0x3900_1000, Kind::Normal).unwrap();
        tables.map(OWN, 0x2_0000_0000..0x2_8010_0000, Kind::Normal).unwrap();
        for address in [0x4000_0000, 0x43ff_fff8, 0x3900_0010, 0x2_4567_89a0, 0x2_8000_0000] {
            assert!(is_at(&tables, address, Kind::Normal), "{address:#x}");
        }
        for address in [0x300_1004, 0x401_fffc] {
            assert!(is_at(&tables, address, Kind::Device), "{address:#x}");
        }
        for address in [0, 0x4400_0000, 0x3920_0000, 0x1_0000_0000, 0x2_8020_0000] {
            assert_eq!(walk(&tables, address), None, "{address:#x}");
        }
        assert_eq!((tables.used, tables.map(OWN, 0x4000_0000..0x4000_1000, Kind::Normal)), (3, Ok(())));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut tables = Tables::new();
        tables.map(OWN, 0x4000_0000..0x4010_0000, Kind::Normal).unwrap();
        tables.map(OWN, 0..GIB, Kind::Device).unwrap();
        assert_eq!(tables.map(OWN, 0x4018_0000..0x4018_1000, Kind::Device), Err(MapError::Conflict));
        assert_eq!(tables.map(OWN, 0x1000..0x2000, Kind::Normal), Err(MapError::Conflict));
        assert_eq!(tables.map(OWN, 0x1000..0x2000, Kind::Device), Ok(()));
        assert_eq!(tables.map(OWN, 1 << 39..(1 << 39) + 1, Kind::Device), Err(MapError::TooHigh));
        for gib in 2..9 {
            tables.map(OWN, gib * GIB..gib * GIB + 1, Kind::Device).unwrap();
        }
        assert_eq!(tables.map(OWN, 9 * GIB..9 * GIB + 1, Kind::Device), Err(MapError::NoTable));
        assert_eq!(tables.map(OWN, 9 * GIB..10 * GIB, Kind::Device), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_mapped_is_found(start in 0u64..(1 << 39), size in 1u64..(3 * GIB), at in any::<prop::sample::Index>()) {
            let mut tables = Tables::new();
            let range = start..start + size;
            let mapped = tables.map(OWN, range.clone(), Kind::Normal);
            prop_assert_eq!(mapped.is_ok(), range.end <= 1 << 39);
            if mapped.is_ok() {
                let address = start + at.index(size as usize) as u64;
                prop_assert_eq!(walk(&tables, address), Some((address, Kind::Normal)));
                let before = (start & !(BLOCK - 1)).wrapping_sub(8);
                prop_assert!(start < BLOCK || walk(&tables, before).is_none());
                prop_assert_eq!(tables.used <= 2, true);
                let _ = MIB;
            }
        }
    }
}
