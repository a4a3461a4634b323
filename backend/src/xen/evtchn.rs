//! `/dev/xen/evtchn`: event channels of this domain (`xen/evtchn.h` of Linux).
//!
//! An event makes its port readable and masks it; writing the port back unmasks it, and what came meanwhile is
//! reported then. A port is closed when the file is, or by [`Evtchn::unbind`].
#![allow(unsafe_code)]

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use xenolith_abi::{DomId, Port};

use super::ioctl::{call, call_plain, number};
use super::open;
use crate::Error;

const BIND_VIRQ: u32 = number(b'E', 0, size_of::<u32>());
const BIND_INTERDOMAIN: u32 = number(b'E', 1, size_of::<[u32; 2]>());
const BIND_UNBOUND: u32 = number(b'E', 2, size_of::<u32>());
const UNBIND: u32 = number(b'E', 3, size_of::<u32>());
const NOTIFY: u32 = number(b'E', 4, size_of::<u32>());
const RESET: u32 = number(b'E', 5, 0);

/// Ports that one read returns at most.
const READ_PORTS: usize = 256;

/// The open file. It is readable (for `epoll`, edge- or level-triggered) while an event is unread.
#[derive(Debug)]
pub struct Evtchn {
    file: OwnedFd,
}

impl Evtchn {
    /// Opens it, without blocking reads.
    ///
    /// # Errors
    /// The file is missing or denied.
    pub fn open() -> Result<Evtchn, Error> {
        let file = open("/dev/xen/evtchn", OFlags::NONBLOCK, "load the kernel's module xen-evtchn")?;
        Ok(Evtchn { file })
    }

    /// Binds a port that another domain set up for this one; returns the port here, which is pending at once.
    ///
    /// # Errors
    /// The port is not this domain's to bind, or there is no such domain.
    pub fn bind_interdomain(&self, domain: DomId, port: Port) -> Result<Port, Error> {
        let answer = self.call(BIND_INTERDOMAIN, &mut [domain.0.into(), port.0]);
        answer.map(Port).map_err(|source| Error::Event { port, action: "bind another domain's port", source })
    }

    /// Binds a virtual interrupt; returns its port.
    ///
    /// # Errors
    /// It is bound already, or there is none with this number.
    pub fn bind_virq(&self, virq: u32) -> Result<Port, Error> {
        let answer = self.call(BIND_VIRQ, &mut [virq]);
        answer.map(Port).map_err(|source| Error::call("bind a virtual interrupt", source))
    }

    /// Makes a port that another domain may bind.
    ///
    /// # Errors
    /// There are no ports left.
    pub fn bind_unbound(&self, domain: DomId) -> Result<Port, Error> {
        let answer = self.call(BIND_UNBOUND, &mut [domain.0.into()]);
        answer.map(Port).map_err(|source| Error::domain(domain, "make an event channel for it", source))
    }

    /// Closes a port.
    ///
    /// # Errors
    /// It is not one of this file.
    pub fn unbind(&self, port: Port) -> Result<(), Error> {
        let answer = self.call(UNBIND, &mut [port.0]);
        answer.map(drop).map_err(|source| Error::Event { port, action: "close", source })
    }

    /// Sends an event to the other end of a port.
    ///
    /// # Errors
    /// It is not a port of this file, or has no other end any more.
    pub fn notify(&self, port: Port) -> Result<(), Error> {
        let answer = self.call(NOTIFY, &mut [port.0]);
        answer.map(drop).map_err(|source| Error::Event { port, action: "notify", source })
    }

    /// Adds the ports with unread events to `ports`; returns whether there may be more.
    ///
    /// # Errors
    /// Linux lost events: see [`Evtchn::reset`].
    pub fn pending(&self, ports: &mut Vec<Port>) -> Result<bool, Error> {
        let mut bytes = [0; READ_PORTS * size_of::<u32>()];
        let count = match rustix::io::read(&self.file, &mut bytes) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(source) => return Err(Error::call("read pending events", source)),
        };
        let read = bytes.get(..count).unwrap_or_default();
        let (words, _) = read.as_chunks();
        ports.extend(words.iter().map(|word| Port(u32::from_ne_bytes(*word))));
        Ok(count == bytes.len())
    }

    /// Unmasks ports that were read.
    ///
    /// # Errors
    /// Linux's answer.
    pub fn unmask(&self, ports: &[Port]) -> Result<(), Error> {
        // The driver takes a page at a time.
        for some in ports.chunks(READ_PORTS) {
            let bytes: Vec<u8> = some.iter().flat_map(|port| port.0.to_ne_bytes()).collect();
            rustix::io::write(&self.file, &bytes).map_err(|source| Error::call("unmask events", source))?;
        }
        Ok(())
    }

    /// Forgets unread events, after Linux lost some (`EFBIG` from a read): look at everything then.
    ///
    /// # Errors
    /// Linux's answer.
    pub fn reset(&self) -> Result<(), Error> {
        // SAFETY: this is evtchn, which takes no argument for this call.
        let answer = unsafe { call_plain(self.file.as_fd(), RESET) };
        answer.map(drop).map_err(|source| Error::call("reset events", source))
    }

    fn call<const N: usize>(&self, number: u32, argument: &mut [u32; N]) -> Result<u32, Errno> {
        // SAFETY: this is evtchn, and each of its calls above takes a structure of just these 32-bit numbers, whose
        // count is in the call's number; none of them is an address.
        let answer = unsafe { call(self.file.as_fd(), number, argument) }?;
        Ok(answer.unsigned_abs())
    }
}

impl AsFd for Evtchn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        let numbers = [BIND_VIRQ, BIND_INTERDOMAIN, BIND_UNBOUND, UNBIND, NOTIFY, RESET];
        assert_eq!(numbers, [0x04_4500, 0x08_4501, 0x04_4502, 0x04_4503, 0x04_4504, 0x00_4505]);
    }
}
