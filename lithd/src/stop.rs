//! The sign to end that others give a process: SIGTERM, as of an init or `kill`, or SIGINT, as of a terminal.
//!
//! Principle: who ends its ioreq server itself ends in order, and the hypervisor has nothing to say about it. So the signals
//! end nothing at once: they are heard where the process waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::low_level::pipe;

/// What the guest's side is told of a device that ends so.
pub const TOLD: &str = "lithd was told to end";

/// The signals of this process.
pub struct StopSignal(OwnedFd);

impl StopSignal {
    /// From here on they end nothing by themselves.
    ///
    /// # Errors
    /// The system has no files to give.
    pub fn new() -> io::Result<StopSignal> {
        let (signal, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for number in [libc::SIGTERM, libc::SIGINT] {
            pipe::register(number, writer.try_clone()?)?;
        }
        Ok(StopSignal(signal))
    }

    /// Is readable once the sign was given, and stays so.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        is_ready(self.fd())
    }
}

/// Whether a file can be read or is closed.
pub fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut files = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    // What interrupts this is a signal, and perhaps one of ours: it is looked at anew where it is waited for.
    matches!(poll(&mut files, Some(&at_once)), Ok(ready) if ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_is_closed_is_a_sign() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!is_ready(reader.as_fd()));
        drop(writer);
        assert!(is_ready(reader.as_fd()));
    }

    #[test]
    fn a_signal_is_heard_and_ends_nothing() {
        let signal = StopSignal::new().unwrap();
        assert!(!signal.is_given());
        signal_hook::low_level::raise(libc::SIGTERM).unwrap();
        // Looking does not take it away.
        assert!(signal.is_given() && signal.is_given());
    }
}
