//! Calls of a device model for one guest (`dm_op`): its ioreq servers and the guest's interrupt lines.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rustix::io::Errno;
use xenolith_abi::dm::{
    CreateServer, DestroyServer, DmOp, Header, INFO_NO_GFNS, NrVcpus, Range, RangeType, ServerInfo,
    SetIrqLevel, SetServerState,
};
use xenolith_abi::{DomId, Intid};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;
use crate::xen::Privcmd;

/// The device model's access to one guest.
#[derive(Clone, Debug)]
pub struct DeviceModel {
    privcmd: Arc<Privcmd>,
    domain: DomId,
}

impl DeviceModel {
    /// For a guest, by its domain's number.
    pub fn new(privcmd: Arc<Privcmd>, domain: DomId) -> DeviceModel {
        DeviceModel { privcmd, domain }
    }

    /// The guest's domain.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// The file that the calls go through.
    pub fn privcmd(&self) -> &Arc<Privcmd> {
        &self.privcmd
    }

    /// The number of vCPUs that the guest may have.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn vcpus(&self) -> Result<u32, Error> {
        let mut argument = NrVcpus::default();
        self.call(DmOp::NrVcpus, "count its vCPUs", &mut argument)?;
        Ok(argument.vcpus)
    }

    /// Makes an ioreq server, without buffered requests and not enabled; returns its number.
    ///
    /// # Errors
    /// The hypervisor refuses the call: `ENOSPC` if the guest has as many servers as it can.
    pub fn create_server(&self) -> Result<u16, Error> {
        let mut argument = CreateServer::default();
        self.call(DmOp::CreateServer, "create an ioreq server", &mut argument)?;
        Ok(argument.id)
    }

    /// Ends an ioreq server; what it was asked for is answered with all ones.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn destroy_server(&self, id: u16) -> Result<(), Error> {
        let mut argument = DestroyServer { id, pad: 0 };
        self.call(DmOp::DestroyServer, "destroy an ioreq server", &mut argument)
    }

    /// Whether there is such an ioreq server, of this domain.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn has_server(&self, id: u16) -> Result<bool, Error> {
        let mut argument = ServerInfo { id, flags: INFO_NO_GFNS, ..ServerInfo::default() };
        match self.call(DmOp::ServerInfo, "ask for an ioreq server", &mut argument) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has an ioreq server take part, or not.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn enable_server(&self, id: u16, enabled: bool) -> Result<(), Error> {
        let mut argument = SetServerState { id, enabled: u8::from(enabled), pad: 0 };
        self.call(DmOp::SetServerState, "enable an ioreq server", &mut argument)
    }

    /// Gives accesses to guest physical addresses to an ioreq server.
    ///
    /// # Errors
    /// The hypervisor refuses the call: `EEXIST` if part of them is given out already.
    pub fn map_mmio(&self, id: u16, addresses: RangeInclusive<u64>) -> Result<(), Error> {
        let mut argument = range(id, addresses);
        self.call(DmOp::MapRange, "give an address range to an ioreq server", &mut argument)
    }

    /// Takes guest physical addresses from an ioreq server.
    ///
    /// # Errors
    /// The hypervisor refuses the call: `ENOENT` if the server does not have all of them.
    pub fn unmap_mmio(&self, id: u16, addresses: RangeInclusive<u64>) -> Result<(), Error> {
        let mut argument = range(id, addresses);
        self.call(DmOp::UnmapRange, "take an address range from an ioreq server", &mut argument)
    }

    /// Sets the level of one of the guest's shared interrupt lines, by its interrupt number (INTID, 32 or above).
    ///
    /// # Errors
    /// The hypervisor refuses the call: `EINVAL` if the guest has no such line, or it belongs to real hardware.
    pub fn set_irq(&self, irq: Intid, level: bool) -> Result<(), Error> {
        let mut argument = SetIrqLevel { irq, level: u8::from(level), pad: [0; 3] };
        self.call(DmOp::SetIrqLevel, "set an interrupt line", &mut argument)
    }

    /// Makes a call; what the hypervisor writes back is in `argument` then.
    fn call<T>(&self, op: DmOp, action: &'static str, argument: &mut T) -> Result<(), Error>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        let mut bytes = encode(op, argument);
        self.privcmd
            .dm_op(self.domain, &mut [&mut bytes])
            .map_err(|source| Error::domain(self.domain, action, source))?;
        *argument = decode(&bytes).ok_or_else(|| Error::unfit("a device model's call changed its size"))?;
        Ok(())
    }
}

fn range(id: u16, addresses: RangeInclusive<u64>) -> Range {
    let (start, end) = addresses.into_inner();
    Range { id, pad: 0, kind: RangeType::Memory.number(), start, end }
}

/// The buffer of a call: the header, and the operation's structure after it.
fn encode<T: IntoBytes + Immutable>(op: DmOp, argument: &T) -> Vec<u8> {
    let header = Header { op: op.number(), pad: 0 };
    [header.as_bytes(), argument.as_bytes()].concat()
}

/// The structure in the buffer of a call.
fn decode<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_bytes(bytes.get(size_of::<Header>()..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_header_and_structure() {
        let bytes = encode(DmOp::MapRange, &range(2, 0x200_0000..=0x200_01ff));
        assert_eq!(bytes.len(), 32);
        assert_eq!(&bytes[..12], [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        let back: Range = decode(&bytes).unwrap();
        assert_eq!((back.id, back.kind, back.start, back.end), (2, 1, 0x200_0000, 0x200_01ff));
        assert!(decode::<NrVcpus>(&bytes).is_none());
        assert!(decode::<NrVcpus>(&[]).is_none());
    }

    #[test]
    fn a_structure_of_six_bytes_comes_back() {
        let mut bytes = encode(DmOp::CreateServer, &CreateServer::default());
        assert_eq!(bytes.len(), 14);
        bytes[12] = 5;
        assert_eq!(decode::<CreateServer>(&bytes).unwrap().id, 5);
    }
}
