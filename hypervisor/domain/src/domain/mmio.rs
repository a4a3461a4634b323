//! A guest's access to an address where it has no memory: one look-up says who answers, and here it is asked.

use xenolith_core::types::{Ipa, VcpuId};
use xenolith_vdev::address_table::Handler;

use super::Domain;
use crate::hypervisor::Hypervisor;
use crate::parts::io_state::IoState;

impl Domain {
    /// A load or store of this vCPU, which runs on the calling CPU, at an address where the domain has no memory. `write` is
    /// what is stored.
    #[inline(always)]
    pub fn access(&self, hv: &Hypervisor, id: VcpuId, at: Ipa, size: u8, write: Option<u64>) -> IoState {
        let table = self.addresses.read();
        let Some(found) = table.find(at) else { return IoState::Unhandled };
        match found.handler {
            // The servers are locked before the table is free, so that this one still has the address when it is asked.
            #[cfg(feature = "ioreq")]
            Handler::Server(server) => self.forward(hv, id, server, at, found.last, size, write, table),
            handler => {
                drop(table);
                self.emulate(hv, id, handler, found.offset, size, write)
            }
        }
    }

    /// The same, at an offset of a window that the hypervisor emulates.
    #[inline(always)]
    fn emulate(
        &self,
        hv: &Hypervisor,
        id: VcpuId,
        handler: Handler,
        offset: u64,
        size: u8,
        write: Option<u64>,
    ) -> IoState {
        match handler {
            Handler::Vuart => self.access_uart(hv, offset, size, write),
            Handler::Vgic(number) => self.access_interrupt_controller(hv, id, number, offset, size, write),
            #[cfg(feature = "ioreq")]
            Handler::Server(_) => IoState::Unhandled,
        }
    }
}
