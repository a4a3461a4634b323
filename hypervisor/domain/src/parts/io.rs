//! The ioreq servers of a domain.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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
    /// Frames with slots that somebody has, of those that the domain was promised: a server, or a device model that maps the
    /// page of one that has ended.
    frames: AtomicU32,
    most_frames: u32,
}

impl Io {
    /// No server. `EINVAL`: a number of vCPUs that no domain has. `ENOMEM`: no memory.
    pub fn new(vcpus: u16) -> Result<Self, Errno> {
        Ok(Io {
            servers: Mutex::new(Servers::new(vcpus)?),
            any: AtomicBool::new(false),
            frames: AtomicU32::new(0),
            most_frames: Servers::<FrameRef>::frames(vcpus),
        })
    }

    /// The most pages that the servers of a domain take of its promise.
    pub fn pages(vcpus: u16) -> u64 {
        Servers::<FrameRef>::pages(vcpus)
    }

    /// The pages that they have of it.
    pub fn held_pages(&self) -> u64 {
        self.servers.lock().held_pages().saturating_add(self.frames.load(Ordering::SeqCst).into())
    }

    /// Gives a page of the servers' books back, of a domain that has ended. False when there is none left.
    pub fn shrink(&self) -> bool {
        self.servers.lock().shrink()
    }

    /// Counts one more frame with slots. False when the domain has all that it was promised.
    pub fn count_frame(&self) -> bool {
        let more = |frames: u32| (frames < self.most_frames).then_some(frames.saturating_add(1));
        self.frames.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Nobody has one of them any more.
    pub fn frame_gone(&self) {
        self.frames.fetch_sub(1, Ordering::SeqCst);
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
