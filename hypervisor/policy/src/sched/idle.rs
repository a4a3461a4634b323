//! How long a CPU has had nothing to run.

/// The account of a CPU's idle time, in ticks.
#[derive(Debug, Default)]
pub struct IdleTime {
    since: Option<u64>,
    booked: u64,
}

impl IdleTime {
    /// From `now` on the CPU idles, or no longer.
    pub fn book(&mut self, idle: bool, now: u64) {
        match (self.since, idle) {
            (None, true) => self.since = Some(now),
            (Some(_), false) => {
                self.booked = self.total(now);
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// All of it up to `now`.
    pub fn total(&self, now: u64) -> u64 {
        let open = self.since.map_or(0, |since| now.saturating_sub(since));
        self.booked.saturating_add(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idle_ticks_count() {
        let mut account = IdleTime::default();
        account.book(true, 100);
        account.book(true, 110);
        assert_eq!(account.total(130), 30);
        account.book(false, 150);
        account.book(false, 170);
        assert_eq!(account.total(200), 50);
        account.book(true, 300);
        assert_eq!(account.total(301), 51);
    }
}
