//! The machine's console.
//!
//! Output: the hypervisor's messages and what domains write go into a ring that keeps the last 16 KiB (`xl dmesg`), and from
//! there to the UART as it takes them (`drain`), of each domain no more than its share of what waits ([`Share`]). The control
//! domain's output is written as it is. Each line of another domain begins with `(dN) `, and a writer who finds another's line
//! unfinished ends it first (`turns`).
//!
//! Input: what is typed goes to one domain at a time ([`Focus`]). The control domain's waits here until it reads it
//! (`CONSOLEIO_read`), any other's goes to its emulated UART.

mod drain;
mod focus;
mod share;
mod turns;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use log::{Level, LevelFilter, Log, Metadata, Record};

use xenolith_arch as arch;
use xenolith_core::sync::Mutex;
use xenolith_core::types::DomId;

use drain::Drain;
pub use focus::{Focus, MAX_TYPED, Typed};
pub use share::Share;
use turns::Turns;

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
            if let Some(place) = self.bytes.get_mut((self.written % RING as u64) as usize) {
                *place = byte;
            }
            self.written = self.written.wrapping_add(1);
        }
    }

    /// The byte with this number of all that were ever written, if it is kept.
    fn byte(&self, number: u64) -> Option<u8> {
        self.bytes.get((number % RING as u64) as usize).copied()
    }
}

struct Input {
    bytes: [u8; INPUT],
    start: usize,
    length: usize,
    focus: Focus,
}

impl Input {
    /// A byte for the control domain. False when there is no room.
    fn push(&mut self, byte: u8) -> bool {
        if self.length == INPUT {
            return false;
        }
        let end = (self.start + self.length) % INPUT;
        let Some(place) = self.bytes.get_mut(end) else { return false };
        *place = byte;
        self.length += 1;
        true
    }
}

/// Bytes taken from the UART at a time.
const BATCH: usize = 64;

/// Input that was taken from the UART.
#[derive(Debug)]
pub struct Received {
    /// What follows for other domains than the control domain. The first byte may release presses of the switch key that
    /// [`Focus`] kept back.
    pub others: ArrayVec<Typed, { BATCH + MAX_TYPED }>,
    /// Input waits for the control domain.
    pub for_control: bool,
    /// The UART may have more: the batch was full.
    pub more: bool,
}

/// The machine's console.
pub struct Console {
    ring: Mutex<Ring>,
    input: Mutex<Input>,
    dropped: AtomicUsize,
    drain: Drain,
    /// Whose output was written last. Locked while somebody writes, so that no other output comes into a line.
    turns: Mutex<Turns>,
    /// The domain that has the input, as [`Input::focus`] says, for readers without its lock.
    focus: AtomicU16,
}

/// The machine's one console.
#[cfg(target_os = "none")]
pub fn console() -> &'static Console {
    static CONSOLE: Console = Console::new();
    &CONSOLE
}

/// The console of the machine that the calling thread plays (`arch/fake`).
#[cfg(not(target_os = "none"))]
#[expect(clippy::disallowed_methods, reason = "for tests, on the host")]
pub fn console() -> &'static Console {
    std::thread_local! {
        static CONSOLE: &'static Console = {
            let console: &'static Console = alloc::boxed::Box::leak(alloc::boxed::Box::new(Console::new()));
            // As the boot does.
            console.change_focus(|focus| focus.set_key(xenolith_host::command_line::Options::default().console_switch));
            console
        };
    }
    CONSOLE.with(|console| *console)
}

impl Console {
    const fn new() -> Self {
        Console {
            ring: Mutex::new(Ring { bytes: [0; RING], written: 0, cleared: 0 }),
            input: Mutex::new(Input { bytes: [0; INPUT], start: 0, length: 0, focus: Focus::new() }),
            dropped: AtomicUsize::new(0),
            drain: Drain::new(),
            turns: Mutex::new(Turns::new()),
            focus: AtomicU16::new(DomId::CONTROL.0),
        }
    }

    /// Writes output as it is.
    #[inline(never)]
    pub fn write(&self, bytes: &[u8]) {
        self.keep(bytes);
        self.has_written();
    }

    /// Keeps output; who calls this calls [`Self::has_written`] afterwards.
    fn keep(&self, bytes: &[u8]) {
        self.ring.lock().push(bytes);
    }

    /// Bytes that were ever written.
    fn written(&self) -> u64 {
        self.ring.lock().written
    }

    /// Writes the control domain's output as it is, on a line of its own if another domain is in the middle of one.
    pub fn write_control(&self, bytes: &[u8]) {
        {
            let mut turns = self.turns.lock();
            let bytes = turns.give_to(DomId::CONTROL, bytes, || self.end_line());
            self.keep(bytes);
        }
        self.has_written();
    }

    /// Writes another domain's output, each line with the domain's name before it.
    pub fn write_for(&self, domain: DomId, bytes: &[u8]) {
        {
            let mut turns = self.turns.lock();
            let bytes = turns.give_to(domain, bytes, || self.end_line());
            for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                if self.at_line_start() {
                    let _ = write!(Raw(self), "({domain}) ");
                }
                self.keep(piece);
            }
        }
        self.has_written();
    }

    /// Writes a line of the hypervisor's; no other output comes into it.
    fn write_own(&self, mark: &str, text: &fmt::Arguments<'_>) {
        {
            let mut turns = self.turns.lock();
            // Held to the end of the line: parts of it come one by one.
            turns.interrupt(|| self.end_line());
            let _ = writeln!(Line(self), "(xenolith) {mark}{text}");
        }
        self.has_written();
    }

    /// Ends a line that is unfinished. False if none is.
    fn end_line(&self) -> bool {
        let within = !self.at_line_start();
        if within {
            self.keep(b"\r\n");
        }
        within
    }

    fn at_line_start(&self) -> bool {
        let ring = self.ring.lock();
        // The ring has all that was shown, whoever wrote it.
        let last = ring.written.checked_sub(1).and_then(|last| ring.byte(last));
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

    /// Has [`Self::read_back`] without a position begin behind what has been written up to now (`xl dmesg -c`).
    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.cleared = ring.written;
    }

    /// Copies what the ring holds, oldest first, starting at byte `from` of all that was ever written (or at the
    /// oldest byte kept). Returns how many bytes were copied and the position behind them.
    pub fn read_ring(&self, from: u64, into: &mut [u8]) -> (usize, u64) {
        let ring = self.ring.lock();
        let first = from.clamp(ring.written.saturating_sub(RING as u64), ring.written);
        let kept = (first..ring.written).map_while(|number| ring.byte(number));
        let count = into.iter_mut().zip(kept).map(|(place, byte)| *place = byte).count();
        (count, first + count as u64)
    }

    /// Takes a batch of input from the UART, and keeps what is for the control domain. What finds no room is dropped.
    pub fn receive(&self) -> Received {
        let mut bytes = [0; BATCH];
        let count = arch::read_console(&mut bytes);
        let mut others = ArrayVec::new();
        let mut input = self.input.lock();
        for &byte in bytes.iter().take(count) {
            for typed in input.focus.take(byte) {
                match typed {
                    Typed::Byte(DomId::CONTROL, byte) => {
                        if !input.push(byte) {
                            self.dropped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    // There is room: what was kept back is at most what one byte releases.
                    typed => {
                        let _ = others.try_push(typed);
                    }
                }
            }
        }
        self.focus.store(input.focus.now().0, Ordering::Relaxed);
        Received { others, for_control: input.length > 0, more: count == BATCH }
    }

    /// Changes who can have the input, or the key that switches it.
    pub fn change_focus<T>(&self, change: impl FnOnce(&mut Focus) -> T) -> T {
        let mut input = self.input.lock();
        let result = change(&mut input.focus);
        self.focus.store(input.focus.now().0, Ordering::Relaxed);
        result
    }

    /// The domain that has the input.
    pub fn focus(&self) -> DomId {
        DomId(self.focus.load(Ordering::Relaxed))
    }

    /// Takes input of the control domain; returns the bytes that there were.
    pub fn read<'a>(&self, into: &'a mut [u8]) -> &'a [u8] {
        let mut input = self.input.lock();
        let count = into.len().min(input.length);
        for place in into.iter_mut().take(count) {
            *place = input.bytes.get(input.start).copied().unwrap_or(0);
            input.start = (input.start + 1) % INPUT;
        }
        input.length -= count;
        into.get(..count).unwrap_or_default()
    }
}

/// The hypervisor's messages: a line each, with the prefix `(xenolith) `.
struct Logger;

struct Line<'a>(&'a Console);

/// The console with nothing done to line ends.
struct Raw<'a>(&'a Console);

impl Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.keep(text.as_bytes());
        Ok(())
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                self.0.keep(b"\r\n");
            }
            self.0.keep(part.as_bytes());
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
        console().write_own(mark, record.args());
    }

    fn flush(&self) {}
}

/// Sends the hypervisor's messages to the console from now on.
pub fn init_log() {
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// A writer for a panic of the hypervisor, behind what was written before: it waits for no lock without end, which a CPU that
/// has stopped might hold.
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
    console().flush_in_panic();
    arch::write_console_unlocked(b"\r\n(xenolith) ");
    Emergency
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_arch::sim;

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

    #[test]
    fn a_panic_comes_behind_what_waits() {
        let console = console();
        console.write(b"boot ");
        console.defer();
        sim::give_uart_room(Some(3));
        console.write(b"first, ");
        assert_eq!(sim::console_output(), b"boot fir");
        write!(emergency(), "the end").unwrap();
        assert_eq!(sim::console_output(), b"st, \r\n(xenolith) the end");
    }

    #[test]
    fn the_end_waits_for_all_and_nobody_is_deferred_after_it() {
        let console = console();
        console.defer();
        sim::give_uart_room(Some(0));
        console.write(b"one ");
        console.flush();
        console.write(b"two");
        assert_eq!(sim::console_output(), b"one two");
    }

    #[test]
    fn the_end_waits_for_no_output_that_comes_later() {
        fn while_another_cpu_writes(bytes: &[u8]) {
            assert!(console().written() < 1000, "the end never comes");
            arch::write_console(bytes);
            console().keep(b"more");
        }
        let console = console();
        console.defer();
        sim::give_uart_room(Some(0));
        console.write(b"last words ");
        console.drain_all(while_another_cpu_writes);
        assert!(sim::console_output().starts_with(b"last words "));
    }

    #[test]
    fn lines_are_of_one_writer() {
        let console = Console::new();
        console.write_for(DomId(1), b"one\r\ntw");
        console.write_for(DomId(1), b"o");
        console.write_for(DomId(2), b"other\r\n");
        console.write_control(b"first ");
        console.write_control(b"domain");
        console.write_for(DomId(1), b" again");
        console.write_control(b"end\n");
        let mut bytes = [0; 200];
        let (count, _) = console.read_ring(0, &mut bytes);
        let expected = "(d1) one\r\n(d1) two\r\n(d2) other\r\nfirst domain\r\n(d1)  again\r\nend\n";
        assert_eq!(core::str::from_utf8(&bytes[..count]).unwrap(), expected);
    }

    #[test]
    fn the_end_of_a_line_that_was_cut_is_no_empty_line() {
        let console = Console::new();
        console.write_control(b"first");
        console.write_for(DomId(1), b"one");
        console.write_own("", &format_args!("news"));
        console.write_for(DomId(1), b"\r");
        console.write_for(DomId(1), b"\ntwo\r\n");
        console.write_control(b"\r\n\r\n1\r\n");
        console.write_control(b"half ");
        console.write_own("", &format_args!("more"));
        console.write_control(b"a line\n\n");
        let mut bytes = [0; 200];
        let (count, _) = console.read_ring(0, &mut bytes);
        let expected = "first\r\n(d1) one\r\n(xenolith) news\r\n(d1) two\r\n\r\n1\r\nhalf \r\n(xenolith) more\r\n\
                        a line\n\n";
        assert_eq!(core::str::from_utf8(&bytes[..count]).unwrap(), expected);
    }

    #[test]
    fn nobody_comes_between_the_parts_of_our_lines() {
        let console = Console::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|_| console.write_control(b"domain\r\n")));
            scope.spawn(|| {
                (0..200).for_each(|_| console.write_own("error: ", &format_args!("{}{}{}", "o", 'n', 'e')));
            });
        });
        let mut bytes = vec![0; RING];
        let (count, _) = console.read_ring(0, &mut bytes);
        let text = core::str::from_utf8(&bytes[..count]).unwrap();
        assert!(text.lines().all(|line| line == "domain" || line == "(xenolith) error: one"), "{text}");
    }
}
