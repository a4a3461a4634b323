//! A guest's access to an address where it has no memory: one look-up says who answers, and here it is asked.

use xenolith_core::sync::RwLockReadGuard;
use xenolith_core::types::{Ipa, VcpuId};
use xenolith_vdev::address_table::{AddressTable, Found, Handler};

use super::DomainRef;
use crate::parts::io_state::IoState;

impl DomainRef<'_> {
    /// A load or store of this vCPU, which runs on the calling CPU, at an address where the domain has no memory. `write` is
    /// what is stored.
    #[inline]
    pub fn access(self, id: VcpuId, at: Ipa, size: u8, write: Option<u64>) -> IoState {
        let table = self.addresses.read();
        let Some(found) = table.find(at) else { return IoState::Unhandled };
        // The most frequent one first, and by one comparison.
        if let Handler::InterruptController(number) = found.handler {
            drop(table);
            return self.access_interrupt_controller(id, number, found.offset, size, write);
        }
        self.access_other(id, at, size, write, found, table)
    }

    #[inline]
    fn access_other(
        self,
        id: VcpuId,
        at: Ipa,
        size: u8,
        write: Option<u64>,
        found: Found,
        table: RwLockReadGuard<'_, AddressTable>,
    ) -> IoState {
        // Only a server is told the address.
        #[cfg(not(feature = "ioreq"))]
        let _ = at;
        match found.handler {
            // The servers are locked before the table is free, so that this one still has the address when it is asked.
            #[cfg(feature = "ioreq")]
            Handler::Server(server) => self.forward(id, server, at, size, write, found.last, table),
            Handler::Vuart => {
                drop(table);
                self.access_uart(found.offset, size, write)
            }
            Handler::InterruptController(number) => {
                drop(table);
                self.access_interrupt_controller(id, number, found.offset, size, write)
            }
        }
    }
}
