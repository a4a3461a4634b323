//! Adaptive busy-polling: how long to poll for the next thing to do before waiting for an event.
//!
//! A guest that uses its disk comes back soon: it takes its interrupt, asks why it came, and sends the next request. To
//! be found polling spares it, and this domain, an event and a wait each time. So the time to poll is doubled when a wait
//! was short, and halved when a wait was so long that polling was a waste: more than one part in [`RATE`].
//!
//! Polling may also be what keeps the guest away, where both have to share a CPU, and a guest may come back just in time to
//! keep a CPU of this domain busy with looking for it. So every poll makes a debt, which the work that it finds pays,
//! [`WORTH`] times as much, and otherwise only time, one part in [`RATE`]. With too much debt there is no polling.
//!
//! Principle: whatever the guest does, no more is polled than [`WORTH`] times the work that polling has found, a part in
//! [`RATE`] of the time, and a bounded rest. This is arithmetic on times that the caller measures, counted from any moment
//! that stays the same.

use std::time::Duration;

/// The first time to poll that is tried, after none.
const FIRST: Duration = Duration::from_micros(10);
/// The longest time to poll, and what counts as a short wait: a guest that takes longer than this with what it got does
/// not gain much.
const LONGEST: Duration = Duration::from_millis(2);
/// The debt with which there is no polling.
const CREDIT: Duration = LONGEST.saturating_mul(2);
/// The time that pays for one unit of polling, in such units.
const RATE: u32 = 32;
/// The polling that a unit of work pays which it has found. What polling spares, an event and a wait here and an interrupt
/// that waits for a CPU, is about as much as a request is work; a guest that thinks for longer loses little by a wait.
const WORTH: u32 = 16;

/// The time, which changes with experience.
#[derive(Debug, Default)]
pub struct AdaptivePoll {
    span: Duration,
    debt: Duration,
    quiet_since: Duration,
}

impl AdaptivePoll {
    /// No polling at first, at the time `now`.
    pub fn new(now: Duration) -> AdaptivePoll {
        AdaptivePoll { quiet_since: now, ..AdaptivePoll::default() }
    }

    /// There was something to do: it was found at `found` and done by `done`.
    pub fn busy(&mut self, found: Duration, done: Duration) {
        self.update(found.saturating_sub(self.quiet_since), done.saturating_sub(found));
        self.quiet_since = done;
    }

    /// Whether there was nothing to do for so long by `now` that an event is to be waited for.
    pub fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.quiet_since) >= self.limit()
    }

    /// The time to poll before the next wait: none with too much debt.
    fn limit(&self) -> Duration {
        if self.debt < CREDIT { self.span } else { Duration::ZERO }
    }

    /// Learns from a time in which there was nothing to do, and from the work that ended it.
    fn update(&mut self, quiet: Duration, work: Duration) {
        let limit = self.limit();
        let is_found = quiet < limit;
        // Of work that ended a wait, polling has found nothing. The time that has passed pays, the wait included.
        let paid = if is_found { work.saturating_mul(WORTH) } else { Duration::ZERO };
        self.debt =
            self.debt.saturating_add(quiet.min(limit)).saturating_sub(paid).saturating_sub(quiet / RATE);
        // Found before the wait began: the time to poll was right.
        if is_found {
            return;
        }
        // Also with too much debt to poll: the span then follows what the guest does, for when there is credit again.
        if quiet <= LONGEST {
            self.span = self.span.saturating_mul(2).clamp(FIRST, LONGEST);
        } else if self.span > quiet / RATE {
            self.span /= 2;
        }
    }
}

#[cfg(test)]
mod tests;
