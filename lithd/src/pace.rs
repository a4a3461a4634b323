//! How long to look for the next thing to do before waiting for an event.
//!
//! A guest that uses its disk comes back soon: it takes its interrupt, asks why it came, and sends the next request. To
//! be found looking spares it, and this domain, an event and a wait each time. So the time to look is doubled when a wait
//! was short, and halved when a wait was so long that looking was a waste: more than one part in [`RATE`].
//!
//! Looking may also be what keeps the guest away, where both have to share a CPU. So a look that found nothing makes a
//! debt, which only time pays, [`RATE`] times as much. With too much debt there is no looking. A look that finds something
//! ends the debt, as then looking is worth its time.
//!
//! Principle: this is arithmetic on times that the caller measures, counted from any moment that stays the same.

use std::time::Duration;

/// The first time that is tried.
const FIRST: Duration = Duration::from_micros(10);
/// The longest time, and what counts as a short wait: a guest that takes longer than this with what it got does not gain
/// much.
const LONGEST: Duration = Duration::from_millis(2);
/// With that much debt there is no looking.
const CREDIT: Duration = LONGEST.saturating_mul(2);
/// So much time pays for a unit of looking in vain.
const RATE: u32 = 32;

/// The time, which changes with experience.
#[derive(Debug, Default)]
pub struct Pace {
    span: Duration,
    debt: Duration,
    quiet_since: Duration,
}

impl Pace {
    /// No looking at first, at the time `now`.
    pub fn new(now: Duration) -> Pace {
        Pace { quiet_since: now, ..Pace::default() }
    }

    /// There was something to do: it was found at `found` and done by `done`.
    pub fn busy(&mut self, found: Duration, done: Duration) {
        self.learn(found.saturating_sub(self.quiet_since));
        self.quiet_since = done;
    }

    /// Whether there was nothing to do for so long by `now` that an event is to be waited for.
    pub fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.quiet_since) >= self.limit()
    }

    /// How long to look this time.
    fn limit(&self) -> Duration {
        if self.debt < CREDIT { self.span } else { Duration::ZERO }
    }

    /// There was nothing to do for that long.
    fn learn(&mut self, quiet: Duration) {
        let limit = self.limit();
        if quiet < limit {
            self.debt = Duration::ZERO;
            return;
        }
        self.debt = self.debt.saturating_add(limit).saturating_sub(quiet / RATE);
        if quiet <= LONGEST {
            self.span = self.span.saturating_mul(2).clamp(FIRST, LONGEST);
        } else if self.span > quiet / RATE {
            self.span /= 2;
        }
    }
}

#[cfg(test)]
mod tests;
