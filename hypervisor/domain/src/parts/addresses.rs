//! The table of a domain's addresses.

use xenolith_abi::Errno;
use xenolith_core::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use xenolith_core::types::Ipa;
use xenolith_vdev::address_table::{AddressTable, Handler};

/// The table of a domain's addresses.
///
/// A reader writes to the lock, which all vCPUs of the domain share. That costs no more than what follows: whoever answers
/// an access is behind a lock that the same vCPUs share. Nothing is copied, nothing is counted but the reader, and no
/// table has to outlive its successor, as a lock-free one would.
#[derive(Debug)]
pub struct Addresses(RwLock<AddressTable>);

impl Addresses {
    /// The table of a domain with these windows that the hypervisor emulates: first address, bytes, who answers.
    /// `ENOMEM`: no memory. `EEXIST`: two of them overlap.
    pub fn new(windows: impl IntoIterator<Item = (Ipa, u64, Handler)>) -> Result<Self, Errno> {
        let mut table = AddressTable::default();
        for (first, size, handler) in windows {
            table.emulate(first, size, handler)?;
        }
        Ok(Addresses(RwLock::new(table)))
    }

    /// The table, to look up who answers.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, AddressTable> {
        self.0.read()
    }

    /// Takes the table to change it.
    pub fn change(&self) -> RwLockWriteGuard<'_, AddressTable> {
        self.0.write()
    }
}
