//! The ioreq servers of a domain, in a hypervisor that was built without I/O forwarding.

use xenolith_abi::Errno;

#[cfg(not(target_os = "none"))]
use xenolith_core::types::DomId;

/// A domain's ioreq servers, of which there are none.
pub struct Io;

impl Io {
    /// No server.
    pub fn new(_vcpus: u16) -> Result<Self, Errno> {
        Ok(Io)
    }

    /// They take none of the domain's promise.
    pub fn pages(_vcpus: u16) -> u64 {
        0
    }

    /// They have none of it.
    pub fn held_pages(&self) -> u64 {
        0
    }

    /// No frame is a server's.
    pub fn frame_gone(&self) {}

    /// There are no books.
    pub fn shrink(&self) -> bool {
        false
    }

    /// How many frames the servers hold.
    pub fn held_frames(&self) -> usize {
        0
    }

    /// Nobody has made one.
    #[cfg(not(target_os = "none"))]
    pub fn has_server_of(&self, _: DomId) -> bool {
        false
    }
}
