//! The ioreq servers of a domain.

use core::sync::atomic::AtomicBool;

use xenolith_abi::Errno;

use xenolith_core::sync::Mutex;
#[cfg(not(target_os = "none"))]
use xenolith_core::types::DomId;
use xenolith_memory::frames::FrameRef;
use xenolith_policy::ioreq::Servers;

/// A domain's ioreq servers. What they claim of its addresses stands in the domain's table of addresses too, and both are
/// changed under both locks, the table's first.
pub struct Io {
    /// The servers.
    pub servers: Mutex<Servers<FrameRef>>,
    /// Whether there is any: asked without the lock whenever pages leave the domain's memory.
    pub any: AtomicBool,
}

impl Io {
    /// No server. `EINVAL`: a number of vCPUs that no domain has.
    pub fn new(vcpus: u16) -> Result<Self, Errno> {
        Ok(Io { servers: Mutex::new(Servers::new(vcpus)?), any: AtomicBool::new(false) })
    }

    /// How many frames the servers hold.
    pub fn held_frames(&self) -> usize {
        self.servers.lock().held_frames()
    }

    /// Whether a domain has made one of them.
    #[cfg(not(target_os = "none"))]
    pub fn has_server_of(&self, maker: DomId) -> bool {
        self.servers.lock().owned_by(maker).is_some()
    }
}
