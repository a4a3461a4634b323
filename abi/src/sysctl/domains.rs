//! Lists that a tool reads: domains, and the console's output.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::domctl::DomainInfo;
use crate::{DomId, GuestPtr};

/// Payload of `readconsole`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReadConsole {
    /// Nonzero: what is read need not be kept.
    pub clear: u8,
    /// Nonzero: from `index` on, if that is still there.
    pub incremental: u8,
    /// Ignored.
    pub pad1: u16,
    /// Position in all that was ever written. Out: behind what was read.
    pub index: u32,
    /// Where the bytes go.
    pub buffer: GuestPtr<u8>,
    /// Bytes of the buffer. Out: bytes that were written there.
    pub count: u32,
    /// Ignored.
    pub pad2: u32,
}

/// Payload of `getdomaininfolist`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetDomainInfoList {
    /// The lowest number to list.
    pub first_domain: DomId,
    /// Ignored.
    pub pad1: u16,
    /// Elements of the buffer.
    pub max_domains: u32,
    /// Where the descriptions go.
    pub buffer: GuestPtr<DomainInfo>,
    /// Out: elements written.
    pub num_domains: u32,
    /// Ignored.
    pub pad2: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(ReadConsole, 24, 8, { clear: 0, incremental: 1, index: 4, buffer: 8, count: 16 });
        assert_layout!(GetDomainInfoList, 24, 8, { first_domain: 0, max_domains: 4, buffer: 8, num_domains: 16 });
    }
}
