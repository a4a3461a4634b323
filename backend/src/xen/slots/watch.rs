//! Waiting for device slots to change.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::VIRQ_SLOTS;
use crate::Error;
use crate::xen::Evtchn;

/// How often to look where the interrupt is another process's.
const INTERVAL: Duration = Duration::from_millis(100);

/// Hears of changes: of the slots that this domain serves, or in the control domain of any slot's status.
///
/// One process of a domain gets the virtual interrupt; in others, a change is one that may have been.
#[derive(Debug)]
pub struct Watch {
    events: Option<Evtchn>,
}

impl Watch {
    /// Takes the virtual interrupt, or does without if another process of this domain has it.
    ///
    /// # Errors
    /// The device file is missing, or the hypervisor refuses the call.
    pub fn new() -> Result<Watch, Error> {
        let events = Evtchn::open()?;
        match events.bind_virq(VIRQ_SLOTS) {
            Ok(_) => Ok(Watch { events: Some(events) }),
            // A virtual interrupt has one port in a domain.
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(Watch { events: None }),
            Err(error) => Err(error),
        }
    }

    /// What becomes readable at a change; nothing where the interrupt is another process's: look now and then.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    /// Waits for a change and takes note of it: list the slots after that. Returns false when the time is up.
    ///
    /// # Errors
    /// The event channel fails.
    pub fn wait(&self, limit: Duration) -> Result<bool, Error> {
        let Some(events) = &self.events else {
            std::thread::sleep(INTERVAL.min(limit));
            return Ok(true);
        };
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut [PollFd::new(events, PollFlags::IN)], limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => self.drain(),
            Err(source) => Err(Error::call("wait for device slots", source)),
        }
    }

    /// Takes note of changes without waiting; returns whether there may have been any.
    ///
    /// # Errors
    /// The event channel fails.
    pub fn drain(&self) -> Result<bool, Error> {
        let Some(events) = &self.events else { return Ok(true) };
        let mut ports = Vec::new();
        // Read before it is unmasked: the caller lists the slots after both, so that no change is missed.
        while events.pending(&mut ports)? {}
        events.unmask(&ports)?;
        Ok(!ports.is_empty())
    }
}
