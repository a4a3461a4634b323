//! The console: our own messages and the control domain's output go to the UART and into a ring that keeps the last of
//! them; what is typed waits here until the control domain reads it.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrayvec::{ArrayString, ArrayVec};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::arch;
use crate::sync::Mutex;
use crate::types::DomId;

/// Bytes of output that are kept.
pub const RING: usize = 16 << 10;
/// Bytes of input that wait for a reader; more is dropped.
const INPUT: usize = 1 << 10;

struct Ring {
    bytes: [u8; RING],
    /// Bytes ever written; the last [`RING`] of them are there.
    written: u64,
    /// Bytes up to here are not shown any more to those who ask for all.
    cleared: u64,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes[(self.written % RING as u64) as usize] = byte;
            self.written = self.written.wrapping_add(1);
        }
    }
}

struct Input {
    bytes: [u8; INPUT],
    start: usize,
    length: usize,
}

/// The machine's console.
pub struct Console {
    ring: Mutex<Ring>,
    input: Mutex<Input>,
    dropped: AtomicUsize,
    fresh: AtomicBool,
}

/// The machine's one console.
#[cfg(target_os = "none")]
pub fn console() -> &'static Console {
    static CONSOLE: Console = Console::new();
    &CONSOLE
}

/// The console of the machine that the calling thread plays (`arch/fake`).
#[cfg(not(target_os = "none"))]
pub fn console() -> &'static Console {
    std::thread_local! {
        static CONSOLE: &'static Console = alloc::boxed::Box::leak(alloc::boxed::Box::new(Console::new()));
    }
    CONSOLE.with(|console| *console)
}

impl Console {
    const fn new() -> Self {
        Console {
            ring: Mutex::new(Ring { bytes: [0; RING], written: 0, cleared: 0 }),
            input: Mutex::new(Input { bytes: [0; INPUT], start: 0, length: 0 }),
            dropped: AtomicUsize::new(0),
            fresh: AtomicBool::new(false),
        }
    }

    /// Writes output as it is.
    pub fn write(&self, bytes: &[u8]) {
        self.ring.lock().push(bytes);
        self.fresh.store(true, Ordering::Relaxed);
        arch::write_console(bytes);
    }

    fn at_line_start(&self) -> bool {
        let ring = self.ring.lock();
        let last = ring.written.checked_sub(1).map(|last| ring.bytes[(last % RING as u64) as usize]);
        last.is_none_or(|byte| byte == b'\n')
    }

    /// Copies what the ring holds, from the position whose lower half is `from` if that is there, else from the oldest
    /// byte that was not cleared. Returns how many bytes were copied, and the lower half of the position behind them.
    pub fn read_back(&self, from: Option<u32>, into: &mut [u8]) -> (usize, u32) {
        let start = {
            let ring = self.ring.lock();
            let oldest = ring.written.saturating_sub(RING as u64).max(ring.cleared);
            // Positions in the ring differ by less than 2^32, so the lower half says which one is meant.
            let ahead = from.map(|from| u64::from(from.wrapping_sub(oldest as u32)));
            let ahead = ahead.filter(|&ahead| ahead <= ring.written.saturating_sub(oldest));
            oldest.saturating_add(ahead.unwrap_or(0))
        };
        let (count, end) = self.read_ring(start, into);
        (count, end as u32)
    }

    /// What has been written up to now is not shown any more to those who ask for all.
    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.cleared = ring.written;
    }

    /// Whether anything was written since this was last asked.
    pub fn take_fresh(&self) -> bool {
        // A plain load keeps the common way free of atomic writes.
        self.fresh.load(Ordering::Relaxed) && self.fresh.swap(false, Ordering::Relaxed)
    }

    /// Copies what the ring holds, oldest first, starting at byte `from` of all that was ever written (or at the
    /// oldest byte kept). Returns how many bytes were copied and the position behind them.
    pub fn read_ring(&self, from: u64, into: &mut [u8]) -> (usize, u64) {
        let ring = self.ring.lock();
        let mut position = from.clamp(ring.written.saturating_sub(RING as u64), ring.written);
        let mut count = 0;
        while count < into.len() && position < ring.written {
            into[count] = ring.bytes[(position % RING as u64) as usize];
            count += 1;
            position += 1;
        }
        (count, position)
    }

    /// Takes what has been typed from the UART; true when there is something to read.
    pub fn receive(&self) -> bool {
        let mut bytes = [0; 64];
        let mut input = self.input.lock();
        // The UART's FIFO is small, so this ends; the bound is against a device that never runs dry.
        for _ in 0..INPUT / bytes.len() {
            let count = arch::read_console(&mut bytes);
            for &byte in bytes.iter().take(count) {
                if input.length == INPUT {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                } else {
                    let end = (input.start + input.length) % INPUT;
                    input.bytes[end] = byte;
                    input.length += 1;
                }
            }
            if count < bytes.len() {
                break;
            }
        }
        input.length > 0
    }

    /// Takes typed bytes; returns how many.
    pub fn read(&self, into: &mut [u8]) -> usize {
        let mut input = self.input.lock();
        let count = into.len().min(input.length);
        for slot in into.iter_mut().take(count) {
            *slot = input.bytes[input.start];
            input.start = (input.start + 1) % INPUT;
        }
        input.length -= count;
        count
    }
}

/// The longest line of a domain; what is longer becomes two.
const LINE: usize = 256;

/// The beginning of a line that a domain without a console of its own writes.
#[derive(Debug, Default)]
pub struct GuestLine(ArrayVec<u8, LINE>);

impl GuestLine {
    /// Takes output of a domain, and writes each line that ends in it to the console, marked as the domain's. Bytes that
    /// a terminal would act on are left out.
    pub fn write(&mut self, console: &Console, owner: DomId, bytes: &[u8]) {
        for &byte in bytes {
            if (byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) && self.0.try_push(byte).is_err() {
                self.end(console, owner);
                let _ = self.0.try_push(byte);
            }
            if byte == b'\n' {
                self.end(console, owner);
            }
        }
    }

    fn end(&mut self, console: &Console, owner: DomId) {
        let start = if console.at_line_start() { "" } else { "\n" };
        let mut head = ArrayString::<16>::new();
        // A number has at most five digits.
        let _ = write!(head, "{start}({owner}) ");
        let mut line = ArrayVec::<u8, { LINE + 20 }>::new();
        line.extend(head.bytes().chain(self.0.drain(..)).chain(*b"\r\n"));
        console.write(&line);
    }
}

/// Our own messages, a line each, told apart from a domain's output by their prefix.
struct Logger;

struct Line<'a>(&'a Console);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                self.0.write(b"\r\n");
            }
            self.0.write(part.as_bytes());
        }
        Ok(())
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mark = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // A domain may be in the middle of a line of its own.
        let start = if console().at_line_start() { "" } else { "\n" };
        let _ = writeln!(Line(console()), "{start}(xenolith) {mark}{}", record.args());
    }

    fn flush(&self) {}
}

/// Sends our messages to the console from now on.
pub fn init_log() {
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// A writer for the last words of a dying hypervisor: it waits for no lock.
pub fn emergency() -> impl Write {
    struct Emergency;
    impl Write for Emergency {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for part in text.split_inclusive('\n') {
                match part.strip_suffix('\n') {
                    Some(line) => {
                        arch::write_console_unlocked(line.as_bytes());
                        arch::write_console_unlocked(b"\r\n(xenolith) ");
                    }
                    None => arch::write_console_unlocked(part.as_bytes()),
                }
            }
            Ok(())
        }
    }
    arch::write_console_unlocked(b"\r\n(xenolith) ");
    Emergency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_s_lines_are_marked_and_harmless() {
        let console = Console::new();
        let mut line = GuestLine::default();
        for piece in [&b"hel"[..], b"lo\x1b[2J\r\nsec", b"ond\n", &[b'x'; LINE + 1], b"\n"] {
            line.write(&console, DomId(7), piece);
        }
        let mut bytes = vec![0; 1000];
        let (count, _) = console.read_ring(0, &mut bytes);
        let text = String::from_utf8_lossy(&bytes[..count]).replace(&"x".repeat(LINE), "X");
        assert_eq!(text, "(d7) hello[2J\r\n(d7) second\r\n(d7) X\r\n(d7) x\r\n");
    }

    #[test]
    fn the_ring_keeps_the_last_bytes() {
        let console = Console::new();
        console.write(b"first ");
        console.write(&[b'x'; RING]);
        let mut bytes = vec![0; RING + 10];
        let (count, end) = console.read_ring(0, &mut bytes);
        assert_eq!((count, end), (RING, 6 + RING as u64));
        assert!(bytes[..count].iter().all(|&byte| byte == b'x'));
        assert_eq!(console.read_ring(end, &mut bytes).0, 0);
        console.write(b"more");
        assert_eq!(console.read_ring(end, &mut bytes), (4, end + 4));
    }
}
