//! Xen's Linux device files, each as a type.

pub mod buffer;
pub mod dm;
mod domain;
pub mod evtchn;
mod ioctl;
pub mod layout;
pub mod map;
pub mod privcmd;
mod ram;
pub mod server;
pub mod slots;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

pub use buffer::Buffer;
pub use dm::DeviceModel;
pub use domain::{Domain, Line};
pub use evtchn::Evtchn;
pub use map::Mapping;
pub use privcmd::{Argument, Privcmd};
pub use ram::{Foreign, GuestRam};
pub use server::Server;

/// Bytes of a page of the hypervisor, and of Linux here.
pub const PAGE_SIZE: usize = 4096;

/// Opens a device file for reading and writing.
fn open(path: &'static str, flags: OFlags, module: &'static str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | flags, Mode::empty()).map_err(|source| {
        let advice = match source {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => module,
            Errno::ACCESS | Errno::PERM => "only root may use it",
            _ => "see the kernel's messages",
        };
        Error::Open { path, source, advice }
    })
}
