//! Calls of a device model (`public/hvm/dm_op.h`): its ioreq servers and the guest's interrupt lines.
//!
//! x0 is the guest, x1 the number of buffers, x2 points to that many [`Buffer`]s. The first holds a [`Header`] and after
//! it the operation's structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Gfn, GuestPtr, Intid, Port};

numbers! {
    /// An operation of `dm_op` that exists on Arm.
    DmOp: u32 {
        /// Makes an ioreq server.
        CreateServer = 1,
        /// Says where a server's pages and ports are.
        ServerInfo = 2,
        /// Gives a range to a server.
        MapRange = 3,
        /// Takes a range from a server.
        UnmapRange = 4,
        /// Has a server take part, or not.
        SetServerState = 5,
        /// Ends a server.
        DestroyServer = 6,
        /// Sets the level of a shared interrupt line.
        SetIrqLevel = 19,
        /// Returns how many vCPUs the guest has.
        NrVcpus = 20,
    }
}

/// The most buffers that the hypervisor looks at.
pub const MAX_BUFFERS: u64 = 2;

/// A piece of the caller's memory.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Buffer {
    /// Its first byte.
    pub address: GuestPtr<u8>,
    /// Bytes.
    pub size: u64,
}

/// What the first buffer begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// A [`DmOp`].
    pub op: u32,
    /// Must be zero.
    pub pad: u32,
}

/// Argument of [`DmOp::CreateServer`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateServer {
    /// Buffered requests: 0 on Arm.
    pub handle_bufioreq: u8,
    /// Must be zero.
    pub pad: [u8; 3],
    /// Out: the server.
    pub id: u16,
}

/// [`ServerInfo::flags`]: the frames are not asked for.
pub const INFO_NO_GFNS: u16 = 1;

/// Argument of [`DmOp::ServerInfo`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServerInfo {
    /// The server.
    pub id: u16,
    /// [`INFO_NO_GFNS`].
    pub flags: u16,
    /// Out: the port of buffered requests.
    pub bufioreq_port: Port,
    /// Out: the frame of the synchronous page; not on Arm.
    pub ioreq_gfn: Gfn,
    /// Out: the frame of the buffered page; not on Arm.
    pub bufioreq_gfn: Gfn,
}

numbers! {
    /// What a range is made of.
    RangeType: u32 {
        /// Ports.
        Port = 0,
        /// Guest physical addresses.
        Memory = 1,
        /// PCI functions.
        Pci = 2,
    }
}

/// Argument of [`DmOp::MapRange`] and [`DmOp::UnmapRange`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    /// The server.
    pub id: u16,
    /// Must be zero.
    pub pad: u16,
    /// A [`RangeType`].
    pub kind: u32,
    /// The first address.
    pub start: u64,
    /// The last address.
    pub end: u64,
}

/// Argument of [`DmOp::SetServerState`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetServerState {
    /// The server.
    pub id: u16,
    /// Not 0: it takes part.
    pub enabled: u8,
    /// Must be zero.
    pub pad: u8,
}

/// Argument of [`DmOp::DestroyServer`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DestroyServer {
    /// The server.
    pub id: u16,
    /// Must be zero.
    pub pad: u16,
}

/// Argument of [`DmOp::SetIrqLevel`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIrqLevel {
    /// The line, by its interrupt number (INTID).
    pub irq: Intid,
    /// 0 or 1.
    pub level: u8,
    /// Must be zero.
    pub pad: [u8; 3],
}

/// Argument of [`DmOp::NrVcpus`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NrVcpus {
    /// Out: number of vCPUs.
    pub vcpus: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(Buffer, 16, 8, { address: 0, size: 8 });
        assert_layout!(Header, 8, 4, { op: 0, pad: 4 });
        assert_layout!(CreateServer, 6, 2, { handle_bufioreq: 0, pad: 1, id: 4 });
        assert_layout!(ServerInfo, 24, 8, { id: 0, flags: 2, bufioreq_port: 4, ioreq_gfn: 8, bufioreq_gfn: 16 });
        assert_layout!(Range, 24, 8, { id: 0, pad: 2, kind: 4, start: 8, end: 16 });
        assert_layout!(SetServerState, 4, 2, { id: 0, enabled: 2, pad: 3 });
        assert_layout!(DestroyServer, 4, 2, { id: 0, pad: 2 });
        assert_layout!(SetIrqLevel, 8, 4, { irq: 0, level: 4, pad: 5 });
        assert_layout!(NrVcpus, 4, 4, { vcpus: 0 });
    }
}
