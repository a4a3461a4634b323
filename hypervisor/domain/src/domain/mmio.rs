//! A guest's access to an address where it has no memory: one look-up says who answers, and here it is asked.

use xenolith_abi::Errno;
use xenolith_isa::vgic::{Fault, Frame, Model};
use xenolith_vdev::address_table::{AddressTable, Handler};

use crate::hypervisor::Hypervisor;
use xenolith_core::sync::{RwLock, RwLockWriteGuard};
use xenolith_core::types::{Ipa, VcpuId};

use super::Domain;

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoState {
    /// It is done. What a load read; of a store nothing.
    Done(u64),
    /// The device does not take such an access.
    Refused,
    /// Nobody has the address.
    Unhandled,
    /// An ioreq server has it, and does not answer: a load gives all ones, a store goes nowhere.
    Dropped,
    /// An ioreq server has been asked, and the vCPU is paused until it answers.
    Pending,
}

/// The table of a domain's addresses.
///
/// A reader writes to the lock, which all vCPUs of the domain share. That costs no more than what follows: whoever answers
/// an access is behind a lock that the same vCPUs share. Nothing is copied, nothing is counted but the reader, and no
/// table has to outlive its successor, as a lock-free one would.
#[derive(Debug)]
pub struct Addresses(RwLock<AddressTable>);

impl Addresses {
    /// The table of a domain with such an interrupt controller, of whose frames the controller has made sure that they
    /// do not overlap. `ENOMEM`: no memory.
    pub fn new(controller: &Model) -> Result<Self, Errno> {
        let mut table = AddressTable::default();
        for (Frame(number), first, size) in controller.frames().filter(|&(_, _, size)| size > 0) {
            table.emulate(first, size, Handler::Vgic(number))?;
        }
        Ok(Addresses(RwLock::new(table)))
    }

    /// Takes the table to change it. Readers that come meanwhile wait: a guest whose vCPUs make accesses all the time
    /// does not keep the caller waiting for ever.
    pub fn change(&self) -> RwLockWriteGuard<'_, AddressTable> {
        self.0.upgradeable_read().upgrade()
    }
}

impl Domain {
    /// A load or store of this vCPU, which runs on the calling CPU, at an address where the domain has no memory. `write` is
    /// what is stored.
    pub fn access(&self, hv: &Hypervisor, id: VcpuId, at: Ipa, size: u8, write: Option<u64>) -> IoState {
        let table = self.addresses.0.read();
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
    #[inline]
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
            Handler::Vgic(number) => {
                let frame = Frame(number);
                self.change_vgic(hv, |vgic| match write {
                    Some(value) => vgic.write(id, frame, offset, size, value).map(|()| 0),
                    None => vgic.read(id, frame, offset, size),
                })
                .into()
            }
            #[cfg(feature = "ioreq")]
            Handler::Server(_) => IoState::Unhandled,
        }
    }
}

impl From<Result<u64, Fault>> for IoState {
    fn from(done: Result<u64, Fault>) -> Self {
        done.map_or(IoState::Refused, IoState::Done)
    }
}
