//! Messages about what a domain or its device models do wrong: some, and then silence, so that nobody can fill the console
//! for others.

use core::fmt;
use core::sync::atomic::Ordering;

use super::Domain;

/// Messages about one domain.
const LIMIT: u32 = 32;

impl Domain {
    /// Says what is wrong, unless enough has been said about this domain.
    pub fn warn_ratelimited(&self, what: fmt::Arguments<'_>) {
        self.log_ratelimited(log::Level::Warn, what);
    }

    /// Says what it does that it may do as often as it likes, unless enough has been said about it.
    pub(crate) fn say_ratelimited(&self, what: fmt::Arguments<'_>) {
        self.log_ratelimited(log::Level::Info, what);
    }

    fn log_ratelimited(&self, level: log::Level, what: fmt::Arguments<'_>) {
        let count = self.complaints.load(Ordering::Relaxed);
        if count >= LIMIT {
            return;
        }
        self.complaints.store(count.saturating_add(1), Ordering::Relaxed);
        log::log!(level, "{}: {what}", self.id);
        if count + 1 == LIMIT {
            log::warn!("{}: further messages about it are not shown", self.id);
        }
    }
}
