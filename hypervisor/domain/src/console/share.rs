//! How much of what waits for the console's UART one domain may have written: so that one which writes faster than the UART
//! shows it fills the ring for nobody.
//!
//! What it writes counts from its first piece on until that is shown, and then anew. Where the UART takes all at once nothing ever
//! counts.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Console;

/// Bytes that wait at which its UART says that it is full, and its calls wait.
const FULL: u32 = 512;
/// Bytes that may wait; more is dropped.
const MOST: u32 = 1024;

/// A domain's part of what waits. Its vCPUs may change it at the same time: then a little more or less counts.
#[derive(Debug, Default)]
pub struct Share {
    /// Where its first piece ends that counts.
    until: AtomicU64,
    /// Bytes that count.
    used: AtomicU32,
    /// Bytes that were dropped and not told of.
    dropped: AtomicU32,
}

impl Share {
    fn used(&self, console: &Console) -> u32 {
        let is_shown = console.shown() >= self.until.load(Ordering::Relaxed);
        // What was counted need not have been written in the end.
        if is_shown || console.is_quiet() { 0 } else { self.used.load(Ordering::Relaxed) }
    }

    /// Whether it is to wait until some of it is shown.
    pub fn is_full(&self, console: &Console) -> bool {
        self.used(console) >= FULL
    }

    /// Whether nothing of it counts any more.
    pub fn is_empty(&self, console: &Console) -> bool {
        self.used(console) == 0
    }

    /// It is going to write so many bytes. False: it has too many, and these are dropped.
    pub fn take(&self, console: &Console, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let used = self.used(console);
        let sum = used.saturating_add(bytes);
        if used > 0 && sum > MOST {
            self.dropped.fetch_add(bytes, Ordering::Relaxed);
            return false;
        }
        if used == 0 {
            self.until.store(console.written().saturating_add(bytes.into()), Ordering::Relaxed);
        }
        self.used.store(sum, Ordering::Relaxed);
        true
    }

    /// How many bytes were dropped since this was last asked.
    pub fn take_dropped(&self) -> u32 {
        if self.dropped.load(Ordering::Relaxed) == 0 { 0 } else { self.dropped.swap(0, Ordering::Relaxed) }
    }
}
