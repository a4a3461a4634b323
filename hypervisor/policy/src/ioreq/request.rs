//! What an access and a server are called: plain data, which every other part names.

use core::fmt;

use xenolith_memory::intervals::Value;

/// Servers that a domain may have at once.
pub const SERVERS: usize = 16;

/// A server's number within the domain it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

impl Value for ServerId {
    fn to_number(self) -> u32 {
        self.0.into()
    }

    fn from_number(number: u32) -> Self {
        ServerId((number & 0xffff) as u16)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ioreq server {}", self.0)
    }
}

/// One access of a vCPU to guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first byte.
    pub address: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether the guest writes.
    pub write: bool,
    /// What it writes; bits beyond the size are not passed on.
    pub data: u64,
}
