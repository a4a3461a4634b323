//! A machine's serial console: everything it prints is kept, and a test waits for words in it.
//!
//! A reader thread owns the machine's output. It appends to the log file and to a buffer; a test moves a
//! cursor through that buffer, so that words which arrived before they were asked for are found as well.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testbed::qemu::{HALTS, PANICS};

use crate::others::find;

/// How long a machine may say nothing at all. Only a hang takes that long.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a machine may talk without saying what a test waits for.
const PATIENCE: Duration = Duration::from_secs(600);

/// Both directions of a machine's serial line.
pub struct Console {
    received: Arc<Received>,
    cursor: usize,
    input: Box<dyn Write + Send>,
}

#[derive(Default)]
struct Received {
    text: Mutex<Text>,
    news: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    closed: bool,
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for more text. Fails when there is none for too long, or when it is too long since `start`.
    fn wait<'a>(&self, text: MutexGuard<'a, Text>, start: Instant) -> Result<MutexGuard<'a, Text>> {
        ensure!(start.elapsed() < PATIENCE, "no end after {} s", PATIENCE.as_secs());
        let (text, timeout) = self.news.wait_timeout(text, SILENCE).unwrap_or_else(PoisonError::into_inner);
        ensure!(!timeout.timed_out(), "silence for {} s", SILENCE.as_secs());
        Ok(text)
    }
}

/// Where a word was found, and the text between the cursor and it.
pub struct Match {
    /// Index into the words that were waited for.
    pub which: usize,
    /// What was printed before the word, since the match before this one.
    pub before: String,
}

impl Console {
    /// Takes over a machine's output and input; all output goes to the file `log` too.
    pub fn new(
        mut output: impl Read + Send + 'static,
        input: impl Write + Send + 'static,
        log: &Path,
    ) -> Result<Self> {
        let mut log = File::create(log).with_context(|| format!("console log {}", log.display()))?;
        let received = Arc::new(Received::default());
        let theirs = Arc::clone(&received);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut chunk) {
                let chunk = &chunk[..count];
                // A full disk loses the log, not the test.
                let _ = log.write_all(chunk);
                theirs.lock().bytes.extend(chunk.iter().filter(|&&byte| byte != b'\r'));
                theirs.news.notify_all();
            }
            theirs.lock().closed = true;
            theirs.news.notify_all();
        });
        Ok(Self { received, cursor: 0, input: Box::new(input) })
    }

    /// Waits for `word` and moves the cursor behind it. Returns what came before it.
    pub fn expect(&mut self, word: &str) -> Result<String> {
        Ok(self.expect_any(&[word])?.before)
    }

    /// Waits for the first of `words` to appear and moves the cursor behind it. The lines of others may stand within it.
    ///
    /// Fails when the machine ends, panics, halts or hangs first.
    pub fn expect_any(&mut self, words: &[&str]) -> Result<Match> {
        let start = Instant::now();
        let mut text = self.received.lock();
        loop {
            let new = &text.bytes[self.cursor..];
            let found = (0..words.len())
                .filter_map(|which| find(new, words[which].as_bytes()).map(|at| (at, which)))
                .min_by_key(|(at, which)| (at.start, usize::MAX - words[*which].len()));
            if let Some((at, which)) = found {
                let before = String::from_utf8_lossy(&new[..at.start]).into_owned();
                self.cursor += at.end;
                return Ok(Match { which, before });
            }
            if let Some(fatal) = line_with(new, &[PANICS.as_slice(), &HALTS].concat()) {
                bail!("waited for {words:?} but the machine said {fatal:?}");
            }
            if text.closed {
                bail!("waited for {words:?} but the machine ended");
            }
            text = self.received.wait(text, start).with_context(|| format!("waiting for {words:?}"))?;
        }
    }

    /// Waits until the machine has closed its console, and returns all that came since the cursor.
    ///
    /// Fails when it halts or hangs instead.
    pub fn rest(&mut self) -> Result<String> {
        let start = Instant::now();
        let mut text = self.received.lock();
        while !text.closed {
            if let Some(halt) = line_with(&text.bytes[self.cursor..], &HALTS) {
                bail!("the machine was to end but said {halt:?}");
            }
            text = self.received.wait(text, start).context("the machine was to end")?;
        }
        let rest = String::from_utf8_lossy(&text.bytes[self.cursor..]).into_owned();
        self.cursor = text.bytes.len();
        Ok(rest)
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.input.write_all(text.as_bytes())?;
        self.input.flush()?;
        Ok(())
    }

    /// The last lines of all that was printed, for a report.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.received.lock();
        let all = String::from_utf8_lossy(&text.bytes);
        let mut tail: Vec<&str> = all.lines().rev().take(lines).collect();
        tail.reverse();
        tail.join("\n")
    }
}

/// The first whole line of `text` that has one of these words, from there on.
fn line_with(text: &[u8], words: &[&str]) -> Option<String> {
    let at = words.iter().filter_map(|word| find(text, word.as_bytes())).map(|at| at.start).min()?;
    let line = text[at..].split_inclusive(|&byte| byte == b'\n').next()?;
    line.ends_with(b"\n").then(|| String::from_utf8_lossy(line).trim_end().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(said: &'static str) -> Console {
        console_of(said.as_bytes())
    }

    fn console_of(output: impl Read + Send + 'static) -> Console {
        let log = std::env::temp_dir().join(format!("console-{:?}.log", thread::current().id()));
        let console = Console::new(output, std::io::sink(), &log).unwrap();
        std::fs::remove_file(log).unwrap();
        console
    }

    /// A machine that says this, and then stands still for as long as the other end is kept.
    fn halting(said: &str) -> (Console, std::io::PipeWriter) {
        let (output, mut machine) = std::io::pipe().unwrap();
        machine.write_all(said.as_bytes()).unwrap();
        (console_of(output), machine)
    }

    #[test]
    fn words_are_found_in_order() {
        let mut console = console("one two\r\nthree");
        assert_eq!(console.expect("two").unwrap(), "one ");
        assert_eq!(console.expect("three").unwrap(), "\n");
        assert!(console.expect("one").unwrap_err().to_string().contains("ended"));
    }

    #[test]
    fn words_are_found_that_another_has_cut() {
        let mut console = console("Left the console of \r\n(xenolith) warning: d2: gone\r\nguest.\nend");
        assert_eq!(console.expect("the console of guest.").unwrap(), "Left ");
        assert_eq!(console.rest().unwrap(), "\nend");
    }

    #[test]
    fn the_first_of_several_words_wins() {
        let mut console = console("b then a");
        let found = console.expect_any(&["a", "b"]).unwrap();
        assert_eq!(found.which, 1);
        assert_eq!(console.rest().unwrap(), " then a");
    }

    #[test]
    fn a_panic_ends_the_wait() {
        let mut console = console("Kernel panic - not syncing: no init\n");
        let error = console.expect("login").unwrap_err();
        assert!(error.to_string().contains("Kernel panic"));
        console.expect("Kernel panic").unwrap();
    }

    #[test]
    fn a_halt_ends_the_wait_at_once() {
        let said =
            "(xenolith) error: there is no first domain\n(xenolith) error: nothing can be booted; halted\n";
        let (mut console, _machine) = halting(said);
        let error = console.expect("login").unwrap_err();
        assert!(error.to_string().contains("nothing can be booted; halted"), "{error}");
        let error = console.rest().unwrap_err();
        assert!(error.to_string().contains("nothing can be booted; halted"), "{error}");
        console.expect("; halted").unwrap();
    }

    #[test]
    fn a_machine_that_panics_may_still_end() {
        let (mut console, machine) = halting("Kernel panic - not syncing: no init\n");
        drop(machine);
        assert!(console.rest().unwrap().contains("no init"));
    }
}
