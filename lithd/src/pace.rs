//! How long to look for the guest's next wish before waiting for an event.
//!
//! A guest that uses its disk comes back soon: it takes its interrupt, asks why it came, and sends the next request. To
//! be found looking spares it, and this domain, an event and a wait each time. A guest that does not come back soon must
//! not cost anything: so the time is doubled when a wait was short, and halved when it was long.

use std::time::{Duration, Instant};

/// The first time that is tried.
const FIRST: Duration = Duration::from_micros(10);
/// The longest time, and what counts as a short wait: a guest that takes longer than this with what it got does not gain
/// much.
const LONGEST: Duration = Duration::from_millis(2);

/// The time, which changes with experience.
#[derive(Debug)]
pub struct Pace {
    span: Duration,
    quiet_since: Instant,
}

impl Pace {
    /// No looking at first.
    pub fn new() -> Pace {
        Pace { span: Duration::ZERO, quiet_since: Instant::now() }
    }

    /// There was something to do for the guest.
    pub fn busy(&mut self) {
        let now = Instant::now();
        self.learn(now.duration_since(self.quiet_since));
        self.quiet_since = now;
    }

    /// What has passed does not count.
    pub fn restart(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Whether there was nothing to do for so long that an event is to be waited for.
    pub fn is_over(&self) -> bool {
        self.quiet_since.elapsed() >= self.span
    }

    /// The guest was quiet for that long.
    fn learn(&mut self, quiet: Duration) {
        if quiet > LONGEST {
            // Down to nothing, and not to ever smaller parts of a microsecond.
            self.span = Some(self.span / 2).filter(|span| *span >= FIRST).unwrap_or_default();
        } else if quiet >= self.span {
            self.span = self.span.saturating_mul(2).clamp(FIRST, LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_long_for_a_busy_guest_and_not_at_all_for_a_quiet_one() {
        let mut pace = Pace::new();
        let mut last = pace.span;
        assert_eq!(last, Duration::ZERO);
        for _ in 0..10 {
            pace.learn(LONGEST);
            assert!(pace.span > last || pace.span == LONGEST);
            last = pace.span;
        }
        assert_eq!(last, LONGEST);
        for _ in 0..10 {
            pace.learn(LONGEST + Duration::from_nanos(1));
        }
        assert_eq!(pace.span, Duration::ZERO);
    }

    #[test]
    fn what_it_finds_while_it_looks_changes_nothing() {
        let mut pace = Pace::new();
        pace.learn(Duration::from_micros(1));
        pace.learn(Duration::from_micros(15));
        let span = pace.span;
        assert_eq!(span, FIRST * 2);
        pace.learn(span - Duration::from_nanos(1));
        assert_eq!(pace.span, span);
    }
}
