//! The way of bytes to the store and back: a socket of its daemon, or the kernel's device.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::Error;

/// Where the store's daemon listens, in its own domain.
const SOCKET: &str = "/run/xenstored/socket";
/// The kernel's way to the store, in any domain that has one.
const DEVICE: &str = "/dev/xen/xenbus";

/// An open way to the store; reads and writes do not wait by themselves.
#[derive(Debug)]
pub(crate) struct Link {
    file: File,
    /// How long the other end may say nothing while it is waited for.
    timeout: Duration,
}

impl Link {
    /// Opens the daemon's socket, or else the kernel's device.
    pub(crate) fn open(timeout: Duration) -> Result<Link, Error> {
        if let Ok(stream) = UnixStream::connect(SOCKET) {
            return Link::new(stream.into(), timeout);
        }
        // Without waiting: the device may have nobody behind it.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(DEVICE, flags, Mode::empty());
        let file = file.map_err(|source| Error::NoStore { socket: SOCKET, device: DEVICE, source })?;
        Link::new(file, timeout)
    }

    /// Over an open file.
    pub(crate) fn new(file: OwnedFd, timeout: Duration) -> Result<Link, Error> {
        let set = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | OFlags::NONBLOCK));
        set.map_err(|error| Error::lost(error.to_string()))?;
        Ok(Link { file: file.into(), timeout })
    }

    /// Sends all of these bytes.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let begun = Instant::now();
        while !bytes.is_empty() {
            match (&self.file).write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, begun)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::lost(error.to_string())),
            }
        }
        Ok(())
    }

    /// Reads up to so many bytes. `None`: there is nothing now.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> Result<Option<usize>, Error> {
        loop {
            match (&self.file).read(bytes) {
                Ok(0) => return Err(Error::lost("its other end has closed it")),
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::lost(error.to_string())),
            }
        }
    }

    /// Waits until there is something to read; not longer than its timeout, counted from `begun`.
    pub(crate) fn wait_to_receive(&self, begun: Instant) -> Result<(), Error> {
        self.wait(PollFlags::IN, begun)
    }

    fn wait(&self, what: PollFlags, begun: Instant) -> Result<(), Error> {
        // With no time left `poll` still looks once: what has come in the last moment counts.
        let left = self.timeout.saturating_sub(begun.elapsed());
        let limit = Timespec::try_from(left).map_err(|_| Error::lost("a wait that is too long"))?;
        match poll(&mut [PollFd::new(&self.file, what)], Some(&limit)) {
            Ok(0) if begun.elapsed() >= self.timeout => {
                Err(Error::lost(format!("no answer for {} seconds", self.timeout.as_secs())))
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::lost(error.to_string())),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
