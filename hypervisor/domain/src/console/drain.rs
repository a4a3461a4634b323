//! How output gets from the ring to the UART.
//!
//! A UART is slow, and who holds its other end may stop it. So nobody waits for it: a writer gives it what its FIFO takes at
//! once, and what is left goes when a CPU comes by that chooses whom it runs, which it does again soon as long as bytes are left
//! ([`Console::drain_some`]). Only the boot, the machine's end and a panic write at once and wait ([`Console::flush`]).

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};

use arrayvec::ArrayVec;

use crate::arch::kick_cpu;
use xenolith_arch as arch;

use super::{Console, RING};

/// Bytes that a CPU moves in one go. More than any single piece of output has, so that a UART which takes all is given all.
const SLICE: usize = 512;
/// Bytes taken out of the ring at a time.
const CHUNK: usize = 64;
/// How long a UART may take no byte until it counts as stuck, in nanoseconds. Then what waits is given up: it is in the ring, but
/// nobody waits for the UART again until it takes a byte.
const PATIENCE: u64 = 1_000_000_000;
/// How soon a CPU comes by again while bytes are left, in nanoseconds: the time of 11 bytes at 115,200 baud, and a FIFO has 16
/// at least.
const PERIOD: u64 = 1_000_000;

/// What a CPU that chooses whom it runs has to look at: output was written, for `VIRQ_CON_RING`.
const FRESH: u8 = 1;
/// Output waits for the UART. Whoever finds this clear and sets it comes back, and so does each CPU that chooses and sees it.
const BEHIND: u8 = 1 << 1;
/// A domain's UART takes nothing until its output is on the machine's.
const HELD: u8 = 1 << 2;

/// How far the UART has come.
pub(super) struct Drain {
    /// Bytes before this one, of all that were ever written, are on the UART or given up.
    shown: AtomicU64,
    /// A CPU is moving bytes.
    busy: AtomicBool,
    /// Writers do not wait for the UART, as those of the boot and of the machine's end do.
    deferred: AtomicBool,
    /// When the UART last took a byte, in ticks.
    progressed: AtomicU64,
    /// Bytes that were given up and not told of.
    lost: AtomicU64,
    news: AtomicU8,
}

impl Drain {
    pub(super) const fn new() -> Self {
        Drain {
            shown: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            deferred: AtomicBool::new(false),
            progressed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            news: AtomicU8::new(0),
        }
    }

    fn mark(&self, news: u8) -> bool {
        self.news.fetch_or(news, Ordering::SeqCst) & news != 0
    }

    fn take(&self, news: u8) -> bool {
        self.news.fetch_and(!news, Ordering::SeqCst) & news != 0
    }

    fn give_up(&self, up_to: u64, bytes: u64) {
        self.shown.store(up_to, Ordering::SeqCst);
        self.lost.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Console {
    /// Has writers wait for the UART no more: guests run from now on.
    pub fn defer(&self) {
        // What was written last may be in the FIFO still.
        self.drain.progressed.store(arch::now(), Ordering::Relaxed);
        self.drain.deferred.store(true, Ordering::SeqCst);
    }

    /// Writes all that waits for the UART, and has writers wait from now on: the machine ends.
    pub fn flush(&self) {
        self.drain.deferred.store(false, Ordering::SeqCst);
        self.drain_all(arch::write_console);
    }

    /// Bytes up to here, of all that were ever written, wait for the UART no more.
    pub(super) fn shown(&self) -> u64 {
        self.drain.shown.load(Ordering::SeqCst)
    }

    /// Whether so much waits for the UART that who can come back later is to do so.
    pub fn is_crowded(&self) -> bool {
        self.catch_up();
        self.written().saturating_sub(self.shown()) > RING as u64 / 2
    }

    /// Whether nothing waits for the UART.
    pub(super) fn is_quiet(&self) -> bool {
        self.written() <= self.shown()
    }

    /// Something was written. Called without a lock of the console's.
    pub(super) fn has_written(&self) {
        self.drain.mark(FRESH);
        if !self.drain.deferred.load(Ordering::SeqCst) {
            self.drain_all(arch::write_console);
        } else {
            self.catch_up();
        }
    }

    /// Moves some of what waits, and sees to it that somebody comes by for the rest.
    fn catch_up(&self) {
        if self.give_slice() && !self.drain.mark(BEHIND) {
            // This CPU leaves EL2 and comes back, and then chooses.
            kick_cpu(arch::this_cpu());
        }
    }

    /// Whether a CPU that chooses whom it runs has to do something here.
    #[inline]
    pub fn has_news(&self) -> bool {
        // A plain load keeps the common way free of atomic writes.
        self.drain.news.load(Ordering::Relaxed) != 0
    }

    /// Tests and clears the mark that output was written, for `VIRQ_CON_RING`.
    pub fn take_fresh(&self) -> bool {
        self.drain.take(FRESH)
    }

    /// A domain's UART takes nothing until its output is on the machine's.
    pub fn mark_held(&self) {
        self.drain.mark(HELD);
    }

    /// Tests and clears that mark.
    pub fn take_held(&self) -> bool {
        self.drain.take(HELD)
    }

    /// Moves some of what waits, on a CPU that chooses whom it runs. Returns when it is to come by again, in ticks of the counter.
    pub fn drain_some(&self, now: u64) -> Option<u64> {
        let waits = self.give_slice();
        if waits {
            self.drain.mark(BEHIND);
        }
        let lost = self.drain.lost.load(Ordering::Relaxed);
        // Not on a UART that is stuck: these words would be lost too, and told of again.
        if lost > 0 && !waits && !self.is_stuck(now) && self.drain.lost.swap(0, Ordering::Relaxed) > 0 {
            log::warn!("{lost} bytes are left out above: the console's UART took them too slowly");
        }
        // Also while another CPU is at it, which may find the mark and leave the rest to who has set it.
        let again = self.drain.news.load(Ordering::SeqCst) & (BEHIND | HELD) != 0;
        again.then(|| now.saturating_add(arch::ticks(PERIOD)))
    }

    /// Whether the UART, which takes nothing now, has taken nothing for long.
    fn is_stuck(&self, now: u64) -> bool {
        now.saturating_sub(self.drain.progressed.load(Ordering::Relaxed)) > arch::ticks(PATIENCE)
    }

    /// Gives the UART what it takes at once. True if bytes are left, and no other CPU sees to them.
    fn give_slice(&self) -> bool {
        let mut left = SLICE;
        loop {
            // Orders what this CPU has written before the look for another that drains; the other side is below.
            fence(Ordering::SeqCst);
            if self.drain.busy.swap(true, Ordering::SeqCst) {
                return false;
            }
            let takes = self.move_bytes(&mut left);
            if self.is_quiet() {
                self.drain.take(BEHIND);
            }
            self.drain.busy.store(false, Ordering::SeqCst);
            // Who has found it busy has left its bytes to this CPU.
            fence(Ordering::SeqCst);
            if self.is_quiet() {
                return false;
            }
            if !takes || left == 0 {
                return true;
            }
        }
    }

    /// Moves up to `left` bytes. False: the UART takes no more.
    fn move_bytes(&self, left: &mut usize) -> bool {
        while *left > 0 {
            let (first, bytes) = self.next_bytes();
            let bytes = bytes.get(..bytes.len().min(*left)).unwrap_or_default();
            if bytes.is_empty() {
                return true;
            }
            let taken = arch::offer_console(bytes);
            let now = arch::now();
            if taken > 0 {
                self.drain.progressed.store(now, Ordering::Relaxed);
                self.drain.shown.store(first.saturating_add(taken as u64), Ordering::SeqCst);
                *left = left.saturating_sub(taken);
            }
            if taken < bytes.len() {
                if self.is_stuck(now) {
                    let written = self.written();
                    self.drain.give_up(written, written.saturating_sub(self.shown()));
                }
                return false;
            }
        }
        true
    }

    /// The next bytes for the UART, and where they begin. What the ring has no more is given up.
    fn next_bytes(&self) -> (u64, ArrayVec<u8, CHUNK>) {
        let shown = self.shown();
        let mut bytes = [0; CHUNK];
        let (count, end) = self.read_ring(shown, &mut bytes);
        let first = end.saturating_sub(count as u64);
        if first > shown {
            self.drain.give_up(first, first.saturating_sub(shown));
        }
        let mut bytes = ArrayVec::from(bytes);
        bytes.truncate(count);
        (first, bytes)
    }

    /// Moves the next bytes by a writer that waits for the UART. False: there are none.
    fn move_by(&self, write: fn(&[u8])) -> bool {
        let (first, bytes) = self.next_bytes();
        write(&bytes);
        self.drain.shown.store(first.saturating_add(bytes.len() as u64), Ordering::SeqCst);
        !bytes.is_empty()
    }

    /// Moves all that waits now, and waits for the UART. What others write meanwhile is theirs to move: a guest that goes on
    /// writing while the machine ends keeps nobody here.
    pub(super) fn drain_all(&self, write: fn(&[u8])) {
        let end = self.written();
        // Another CPU has it for no more than a slice, or than its own output takes.
        while self.drain.busy.swap(true, Ordering::SeqCst) {
            xenolith_hw::relax();
        }
        while self.shown() < end && self.move_by(write) {}
        self.drain.busy.store(false, Ordering::SeqCst);
    }

    /// Writes what waits before a panic's report, as far as no CPU that has stopped holds the ring. Nobody drains after that.
    pub(super) fn flush_in_panic(&self) {
        self.drain.busy.store(true, Ordering::SeqCst);
        for _ in 0..RING / CHUNK {
            let free = (0..1_000_000).any(|_| {
                let free = self.ring.try_lock().is_some();
                if !free {
                    xenolith_hw::relax();
                }
                free
            });
            if !free || !self.move_by(arch::write_console_unlocked) {
                return;
            }
        }
    }
}
