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
    /// The table of a domain with these windows that the hypervisor emulates: first address, bytes, who answers. It has room
    /// for the emulated UART, too. `ENOMEM`: no memory. `EEXIST`: two of them overlap.
    pub fn new(windows: impl Iterator<Item = (Ipa, u64, Handler)> + Clone) -> Result<Self, Errno> {
        let mut table = AddressTable::try_new(with_uart(windows.clone().count()))?;
        for (first, size, handler) in windows {
            table.emulate(first, size, handler)?;
        }
        Ok(Addresses(RwLock::new(table)))
    }

    /// The most pages that a table with so many windows takes of the domain's promise.
    pub fn pages(windows: usize) -> u64 {
        AddressTable::pages(with_uart(windows))
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

/// How many windows there are with that of the emulated UART.
fn with_uart(windows: usize) -> usize {
    windows.saturating_add(1)
}
