//! The loop with guests that never leave it alone.

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsFd;
use std::thread::sleep;

use super::*;

/// What a guest always has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Always {
    /// An access, found by looking.
    Access,
    /// A request that comes between the last look and the wait.
    Request,
    /// An access that an event tells of.
    Event,
    /// Nothing.
    Nothing,
}

/// A guest each of whose wishes takes [`STEP`].
struct Guest {
    always: Always,
    wishes: u32,
    /// With so many wishes its device is told to stop.
    last: u32,
    stop: Option<PipeWriter>,
    event: PipeReader,
}

const STEP: Duration = Duration::from_millis(1);

impl Guest {
    fn wish(&mut self, kind: Always) -> Result<bool> {
        if self.always == kind {
            sleep(STEP);
            self.wishes += 1;
        }
        if self.wishes >= self.last {
            self.stop = None;
        }
        Ok(self.always == kind)
    }
}

impl EventLoop for Guest {
    fn poll_once(&mut self) -> Result<bool> {
        self.wish(Always::Access)
    }

    fn arm_notifications(&mut self) -> Result<bool> {
        self.wish(Always::Request)
    }

    fn drain_events(&mut self) -> Result<bool> {
        self.wish(Always::Event)
    }

    fn events(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.event.as_fd(), None)
    }
}

/// Attends to a guest until it is told to stop after so many wishes. Returns how many it served.
fn serve(always: Always, last: u32) -> u32 {
    let (stop, writer) = pipe().unwrap();
    let (idle, _kept) = pipe().unwrap();
    let (event, mut sender) = pipe().unwrap();
    if always == Always::Event {
        sender.write_all(&[0]).unwrap();
    }
    let mut guest = Guest { always, wishes: 0, last, stop: Some(writer), event };
    run(&mut guest, [idle.as_fd(), stop.as_fd()]).unwrap();
    guest.wishes
}

#[test]
fn a_guest_that_hammers_a_register_is_left_within_a_turn() {
    let turn = u32::try_from(TURN.as_millis() / STEP.as_millis()).unwrap();
    for last in [1, 5, 25] {
        let served = serve(Always::Access, last);
        assert!(served >= last && served < last + turn, "{served} after {last}");
    }
}

#[test]
fn requests_and_events_without_end_do_not_hold_up_the_end() {
    assert_eq!(serve(Always::Request, 5), 5);
    let served = serve(Always::Event, 5);
    assert_eq!(served, 5);
}

#[test]
fn a_wait_ends_with_the_sign_to_stop() {
    assert_eq!(serve(Always::Nothing, 0), 0);
}
