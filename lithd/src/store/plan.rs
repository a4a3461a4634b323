//! What to do about a device, from what the store says and what runs.
//!
//! The states are those of xenbus (Xen, `public/io/xenbus.h`). The tools write 1 when a device is made, and wait until its
//! backend writes 2. For the end they write 5, with `online` 0, and wait: for 6, and take the keys away themselves; or where
//! the backend is another domain than theirs, until that has taken them away. Nobody waits for anything in between.

/// Made by the tools, and not looked at.
pub const INITIALISING: u32 = 1;
/// The backend is there.
pub const INIT_WAIT: u32 = 2;
/// To be ended.
pub const CLOSING: u32 = 5;
/// Ended.
pub const CLOSED: u32 = 6;

/// What the store says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its state; 0 for what is none.
    pub state: u32,
    /// Whether a lithd, perhaps one before this, took it up.
    pub is_marked: bool,
}

/// What became of a device here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its process has not said anything.
    Starting,
    /// Its process serves it.
    Serving,
    /// It could not be served.
    Failed,
    /// It is not served any more.
    Gone,
}

/// A device that was taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The stage that it has reached.
    pub stage: Stage,
    /// Whether its process is there.
    pub runs: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All is as it should be, or not ours.
    Nothing,
    /// Start a process.
    Start,
    /// Tell the tools that the device is served.
    Announce,
    /// Tell the tools that it cannot be served: its keys go.
    Refuse,
    /// Write down that it is served no more.
    Abandon,
    /// Tell its process to end.
    Stop,
    /// Tell the tools that it has ended.
    Close,
    /// Drop what is known of it here.
    Forget,
}

/// The next step for a device.
pub fn plan(seen: Option<Seen>, held: Option<Held>) -> Step {
    let Some(Seen { state, is_marked }) = seen else {
        return match held {
            Some(Held { runs: true, .. }) => Step::Stop,
            Some(_) => Step::Forget,
            None => Step::Nothing,
        };
    };
    match held {
        Some(Held { runs: true, .. }) if state >= CLOSING => Step::Stop,
        Some(Held { stage: Stage::Serving, runs: true }) if state == INITIALISING => Step::Announce,
        Some(Held { runs: true, .. }) => Step::Nothing,
        Some(_) if state >= CLOSING => Step::Close,
        Some(Held { stage: Stage::Failed | Stage::Starting, .. }) => Step::Refuse,
        Some(_) => Step::Abandon,
        None if state == INITIALISING => Step::Start,
        // The process went with the lithd before this one.
        None if is_marked && state == INIT_WAIT => Step::Abandon,
        None if is_marked && state == CLOSING => Step::Close,
        None => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(state: u32, held: Option<(Stage, bool)>) -> Step {
        let held = held.map(|(stage, runs)| Held { stage, runs });
        plan(Some(Seen { state, is_marked: held.is_some() }), held)
    }

    #[test]
    fn a_device_lives_from_1_to_6() {
        use Stage::*;
        assert_eq!(next(1, None), Step::Start);
        assert_eq!(next(1, Some((Starting, true))), Step::Nothing);
        assert_eq!(next(1, Some((Serving, true))), Step::Announce);
        assert_eq!(next(2, Some((Serving, true))), Step::Nothing);
        assert_eq!(next(5, Some((Serving, true))), Step::Stop);
        assert_eq!(next(5, Some((Serving, false))), Step::Close);
        assert_eq!(next(6, Some((Serving, false))), Step::Close);
        assert_eq!(plan(None, Some(Held { stage: Serving, runs: false })), Step::Forget);
        assert_eq!(plan(None, None), Step::Nothing);
    }

    #[test]
    fn what_cannot_be_served_is_refused_once() {
        assert_eq!(next(1, Some((Stage::Failed, true))), Step::Nothing);
        assert_eq!(next(1, Some((Stage::Failed, false))), Step::Refuse);
        assert_eq!(next(5, Some((Stage::Failed, false))), Step::Close);
    }

    #[test]
    fn what_is_served_no_more_is_written_down() {
        assert_eq!(next(2, Some((Stage::Gone, false))), Step::Abandon);
        assert_eq!(next(6, Some((Stage::Gone, false))), Step::Close);
        assert_eq!(next(6, Some((Stage::Gone, true))), Step::Stop);
    }

    #[test]
    fn keys_that_vanish_end_a_process() {
        for stage in [Stage::Starting, Stage::Serving, Stage::Failed, Stage::Gone] {
            assert_eq!(plan(None, Some(Held { stage, runs: true })), Step::Stop);
            assert_eq!(plan(None, Some(Held { stage, runs: false })), Step::Forget);
        }
    }

    #[test]
    fn only_what_bears_our_mark_is_taken_over() {
        let other = |state| plan(Some(Seen { state, is_marked: false }), None);
        let marked = |state| plan(Some(Seen { state, is_marked: true }), None);
        assert_eq!([0, 2, 3, 4, 5, 6, 7].map(other), [Step::Nothing; 7]);
        assert_eq!(marked(2), Step::Abandon);
        assert_eq!(marked(5), Step::Close);
        assert_eq!(marked(6), Step::Nothing);
    }
}
