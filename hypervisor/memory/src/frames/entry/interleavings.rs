//! Two or three that refer to a frame, give it up, hand it on or take it, in every order of their steps.

use std::rc::Rc;

use xenolith_hw::model::{cell::UnsafeCell, explore, thread};

use super::*;

const OWNER: DomId = DomId(3);
const OTHER: DomId = DomId(4);

/// A frame: its entry and its content, whose accesses the model checker watches.
struct Frame {
    word: AtomicU64,
    content: UnsafeCell<u32>,
}

impl Frame {
    fn new(state: FrameState) -> Rc<Self> {
        let frame = Frame { word: AtomicU64::new(state.encode()), content: UnsafeCell::new(0) };
        let frame = Rc::new(frame);
        assert_eq!(frame.entry().state(), state);
        frame
    }

    fn entry(&self) -> Entry<'_> {
        Entry(&self.word)
    }

    /// Somebody who has a reference reads.
    fn read(&self) {
        self.content.with(|_| ());
    }

    /// Who has the frame for himself wipes it.
    fn wipe(&self) {
        self.content.with_mut(|_| ());
    }

    /// Takes a reference, reads, and drops the reference. Whether the frame was wiped on the way.
    fn use_it(&self) -> bool {
        if self.entry().reference(OWNER).is_err() {
            return false;
        }
        self.read();
        let last = self.entry().release().unwrap();
        assert!(last.is_none_or(|(owner, _)| owner == OWNER));
        last.map(|_| self.wipe()).is_some()
    }

    /// The owner gives it up. Whether the frame was wiped then.
    fn give_up(&self) -> bool {
        let last = self.entry().give_up(OWNER, |_| true).unwrap();
        if last {
            self.wipe();
        }
        last
    }
}

fn used() -> FrameState {
    FrameState::Used(Used { owner: OWNER, kind: Kind::Ram, allocated: true, references: 1 })
}

fn spawn<R: Send + 'static>(
    frame: &Rc<Frame>,
    play: impl FnOnce(&Frame) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let frame = frame.clone();
    thread::spawn(move || play(&frame))
}

#[test]
fn a_frame_is_wiped_once_and_when_nobody_reads_it() {
    let runs = explore(Some(3), || {
        let frame = Frame::new(used());
        let users = [spawn(&frame, Frame::use_it), spawn(&frame, Frame::use_it)];
        let mut wiped = u32::from(frame.give_up());
        for user in users {
            wiped += u32::from(user.join().unwrap());
        }
        assert_eq!((wiped, frame.entry().state()), (1, FrameState::Scrubbing));
    });
    assert!(runs > 100);
}

#[test]
fn a_frame_that_is_handed_on_has_no_reference_by_its_old_owner() {
    let runs = explore(None, || {
        let frame = Frame::new(used());
        let referrer = spawn(&frame, |frame| frame.entry().reference(OWNER).is_ok());
        let moved = frame.entry().transfer(OWNER, OTHER).is_ok();
        let referred = referrer.join().unwrap();
        assert!(moved != referred);
        let FrameState::Used(after) = frame.entry().state() else { panic!() };
        assert_eq!((after.owner == OTHER, after.references), (moved, 1 + u32::from(referred)));
    });
    assert!(runs > 2);
}

#[test]
fn a_reserved_frame_goes_to_one_of_two() {
    let runs = explore(None, || {
        let frame = Frame::new(FrameState::Reserved);
        let take = |frame: &Frame| frame.entry().reclaim().map(|()| frame.wipe()).is_ok();
        let other = spawn(&frame, take);
        let own = take(&frame);
        assert!(own != other.join().unwrap());
    });
    assert!(runs > 2);
}
