//! `dm_op`: what a device model asks for the guest that it serves.

use xenolith_abi::dm::{
    Buffer, CreateServer, DestroyServer, DmOp, Header, INFO_NO_GFNS, MAX_BUFFERS, NrVcpus, Range, RangeType,
    ServerInfo, SetIrqLevel, SetServerState,
};
use xenolith_abi::{DomId, Errno, GuestPtr, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use xenolith_domain::domain::DomainRef;
use xenolith_policy::ioreq::ServerId;

use crate::caller::{Answer, Arguments, Caller, DONE};

/// The operation's structure in the first buffer, behind the header.
#[derive(Clone, Copy)]
struct Payload {
    place: GuestPtr<u8>,
    size: u64,
    /// The header's padding.
    pad: u32,
}

impl Payload {
    /// Copies it in. `EFAULT`: the buffer is too short, or is not the caller's. `EINVAL`: the header's padding is not zero,
    /// which Xen looks at after that.
    fn read<T: FromBytes + IntoBytes>(self, caller: &Caller<'_>) -> Result<T, Errno> {
        if self.size < size_of::<T>() as u64 {
            return Err(Errno::EFAULT);
        }
        let value = caller.read(self.place.cast::<T>())?;
        if self.pad == 0 { Ok(value) } else { Err(Errno::EINVAL) }
    }

    fn write<T: IntoBytes + Immutable>(self, caller: &Caller<'_>, value: &T) -> Result<(), Errno> {
        caller.write(self.place.cast(), value)
    }
}

/// Arguments: the guest; the number of buffers; their array.
///
/// `ENODATA`, `E2BIG`: no buffer, or too many. `ESRCH`: no such guest, or it is dying. `EPERM`: the caller is not its device
/// model. `EOPNOTSUPP`: no such operation. `EFAULT`: the first buffer is too short for it. `EINVAL`: padding that is not zero.
/// Besides these:
///
/// - `create_ioreq_server`: `EINVAL`: with buffered requests. `ENOSPC`, `ENOMEM`: too many servers or ports, or no memory.
/// - `get_ioreq_server_info`: `EINVAL`: unknown flags. `EOPNOTSUPP`: frames of the guest, which are acquired as a resource.
/// - those of a server: `ENOENT`: there is none. `EPERM`: another domain's.
/// - `map_io_range_to_ioreq_server`, `unmap_...`: `EINVAL`: a range that is empty or not of memory. `EEXIST`: some server has a
///   part. `ENOENT`: not all of it is the server's. `ENOMEM`: too many ranges, or no memory.
/// - `set_ioreq_server_state`: `ENOMEM`: no memory for its page.
/// - `set_irq_level`: `EINVAL`: neither low nor high, no such line, or a physical device's.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [guest, buffers, array, ..] = arguments;
    match buffers {
        0 => return Err(Errno::ENODATA),
        1..=MAX_BUFFERS => (),
        _ => return Err(Errno::E2BIG),
    }
    let buffer: Buffer = caller.read(array)?;
    let guest = caller.device_model_target(DomId(u16::try_from(guest).map_err(|_| Errno::ESRCH)?))?;
    let size = buffer.size.checked_sub(size_of::<Header>() as u64).ok_or(Errno::EFAULT)?;
    let header = caller.read(buffer.address.cast::<Header>())?;
    let op = DmOp::from_number(header.op).ok_or(Errno::EOPNOTSUPP)?;
    let place = Caller::element(buffer.address, size_of::<Header>() as u64)?;
    let payload = Payload { place, size, pad: header.pad };
    if guest.is_dying() {
        return Err(Errno::ESRCH);
    }
    perform(caller, guest.on(caller.hv), op, payload)?;
    DONE
}

fn perform(caller: &Caller<'_>, guest: DomainRef<'_>, op: DmOp, payload: Payload) -> Result<(), Errno> {
    let own = caller.domain().id;
    match op {
        DmOp::CreateServer => {
            let request: CreateServer = payload.read(caller)?;
            // Buffered requests exist on x86 only.
            if request.pad != [0; 3] || request.handle_bufioreq != 0 {
                return Err(Errno::EINVAL);
            }
            let server = guest.create_server(&caller.domain())?;
            let written = payload.write(caller, &CreateServer { id: server.0, ..request });
            if written.is_err() {
                // The caller would never know its number.
                let _ = guest.destroy_server(server, None);
            }
            written
        }
        DmOp::ServerInfo => {
            let request: ServerInfo = payload.read(caller)?;
            if request.flags & !INFO_NO_GFNS != 0 {
                return Err(Errno::EINVAL);
            }
            guest.require_server(ServerId(request.id), own)?;
            if request.flags & INFO_NO_GFNS == 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            payload.write(caller, &ServerInfo { bufioreq_port: Port(0), ..request })
        }
        DmOp::MapRange | DmOp::UnmapRange => {
            let request: Range = payload.read(caller)?;
            if request.pad != 0 || request.end < request.start {
                return Err(Errno::EINVAL);
            }
            if RangeType::from_number(request.kind) != Some(RangeType::Memory) {
                return Err(Errno::EINVAL);
            }
            let server = ServerId(request.id);
            match op {
                DmOp::MapRange => guest.map_range(server, own, request.start, request.end),
                _ => guest.unmap_range(server, own, request.start, request.end),
            }
        }
        DmOp::SetServerState => {
            let request: SetServerState = payload.read(caller)?;
            if request.pad != 0 {
                return Err(Errno::EINVAL);
            }
            guest.enable_server(ServerId(request.id), own, request.enabled != 0)
        }
        DmOp::DestroyServer => {
            let request: DestroyServer = payload.read(caller)?;
            if request.pad != 0 {
                return Err(Errno::EINVAL);
            }
            guest.destroy_server(ServerId(request.id), Some(own))
        }
        DmOp::SetIrqLevel => {
            let request: SetIrqLevel = payload.read(caller)?;
            if request.pad != [0; 3] || request.level > 1 {
                return Err(Errno::EINVAL);
            }
            guest.drive_line(request.irq, request.level == 1)
        }
        DmOp::NrVcpus => {
            let _: NrVcpus = payload.read(caller)?;
            payload.write(caller, &NrVcpus { vcpus: guest.vcpus.len() as u32 })
        }
    }
}
