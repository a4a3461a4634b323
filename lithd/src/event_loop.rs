//! The event loop of a device's process: it busy-polls for a while, and then waits for an event.
//!
//! Principle: nothing that the guest does keeps the loop from seeing the sign to stop. A guest that always has something
//! to do is served for [`TURN`] at a time.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::adaptive_poll::AdaptivePoll;

/// The time for which a busy guest is served before the sign to stop is looked for.
const TURN: Duration = Duration::from_millis(10);

/// What the loop serves: a guest's accesses and its queues. Each call does a bounded amount of work.
pub trait EventLoop {
    /// Does the work that there is now, whether or not an event was sent for it. Returns whether there was any.
    ///
    /// # Errors
    /// The guest cannot be served any more.
    fn poll_once(&mut self) -> Result<bool>;

    /// Asks for an event for all work that comes from here on. Returns whether there is work already, for which none
    /// may come.
    ///
    /// # Errors
    /// The guest cannot be served any more.
    fn arm_notifications(&mut self) -> Result<bool>;

    /// Reads the events that were sent, and does their work. Returns whether there was any.
    ///
    /// # Errors
    /// The guest cannot be served any more.
    fn drain_events(&mut self) -> Result<bool>;

    /// The files that become readable with an event: the accesses' and, if the device has one, the device's.
    fn events(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>);
}

/// Does what there is to do until one of `stops` is readable or closed.
///
/// # Errors
/// The guest cannot be served any more.
pub fn run(handler: &mut impl EventLoop, stops: [BorrowedFd<'_>; 2]) -> Result<()> {
    let begun = Instant::now();
    let mut adaptive = AdaptivePoll::new(begun.elapsed());
    loop {
        let quiet = busy_poll(handler, &mut adaptive, begun)?;
        // While the guest is busy nothing is waited for: it is only seen whether to stop.
        let more = !quiet || handler.arm_notifications()?;
        if wait(handler, stops, more)? {
            return Ok(());
        }
        // Measured first: the guest was quiet until the event came, not until its accesses are answered.
        let found = begun.elapsed();
        if handler.drain_events()? {
            adaptive.busy(found, begun.elapsed());
        }
    }
}

/// Does what there is to do without an event, until that was nothing for as long as `adaptive` says. Returns whether that is
/// why it ended: it does so after a while in any case.
fn busy_poll(handler: &mut impl EventLoop, adaptive: &mut AdaptivePoll, begun: Instant) -> Result<bool> {
    let first = begun.elapsed();
    let mut now = first;
    loop {
        if handler.poll_once()? {
            let done = begun.elapsed();
            adaptive.busy(now, done);
            now = done;
        } else if adaptive.is_over(now) {
            return Ok(true);
        } else {
            // The time is read again only here: a poll that found something has brought it along.
            std::hint::spin_loop();
            now = begun.elapsed();
        }
        if now.saturating_sub(first) >= TURN {
            return Ok(false);
        }
    }
}

/// Waits for something to do, unless there is `more` already. Returns whether to stop.
fn wait(handler: &impl EventLoop, stops: [BorrowedFd<'_>; 2], more: bool) -> Result<bool> {
    let (accesses, device) = handler.events();
    let [first, second] = stops;
    let mut files = [
        PollFd::from_borrowed_fd(first, PollFlags::IN),
        PollFd::from_borrowed_fd(second, PollFlags::IN),
        PollFd::from_borrowed_fd(accesses, PollFlags::IN),
        // Where nothing is to be waited for, the same once more.
        PollFd::from_borrowed_fd(device.unwrap_or(accesses), PollFlags::IN),
    ];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut files, more.then_some(&at_once)) {
        // A ring whose thread is asked to look for completions ends the wait like a signal. The sign to stop is
        // anything that comes back for its file: a pipe that its other end has closed answers with POLLHUP only
        // (poll(2)).
        Ok(_) | Err(Errno::INTR) => Ok(files.iter().take(stops.len()).any(|stop| !stop.revents().is_empty())),
        Err(error) => Err(error).context("cannot wait for events"),
    }
}

#[cfg(test)]
mod tests;
