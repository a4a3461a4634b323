//! What cannot happen, said where it would be seen.
//!
//! [`bug!`](crate::bug!) stands where the hypervisor's own books contradict each other: not for anything that a guest, a
//! backend or a tool can bring about, which gets an error. Under test, and with debug assertions, it panics, so that the
//! test that got there fails. On the machine a panic would take all domains with it: there the text is logged, once for
//! each place, and the caller goes on as it would for a refused request.

use core::fmt::Arguments;
use core::sync::atomic::{AtomicBool, Ordering};

/// A place in the source that is never reached, and whether it was.
#[derive(Debug)]
pub struct BugSite {
    text: &'static str,
    file: &'static str,
    line: u32,
    said: AtomicBool,
}

impl BugSite {
    /// A place that was not reached yet.
    pub const fn new(text: &'static str, file: &'static str, line: u32) -> Self {
        BugSite { text, file, line, said: AtomicBool::new(false) }
    }

    /// The place was reached, and its text says it all. Part of [`bug!`](crate::bug!).
    #[cold]
    #[inline(never)]
    pub fn reached(&self) {
        self.reached_with(format_args!("{}", self.text));
    }

    /// The place was reached, and values belong into its text. Part of [`bug!`](crate::bug!).
    #[cold]
    #[inline(never)]
    #[cfg_attr(
        target_os = "none",
        expect(clippy::panic, reason = "in a build for tests a bug is to be seen")
    )]
    pub fn reached_with(&self, text: Arguments<'_>) {
        if cfg!(any(debug_assertions, not(target_os = "none"))) {
            panic!("BUG at {}:{}: {text}", self.file, self.line);
        }
        self.log_once(text);
    }

    fn log_once(&self, text: Arguments<'_>) {
        // The flag orders nothing: of several CPUs here at once exactly one is to write, and it writes only its own text.
        if !self.said.swap(true, Ordering::Relaxed) {
            log::error!("BUG at {}:{}: {text}", self.file, self.line);
        }
    }
}

/// Whether a text has places for values. Part of [`bug!`](crate::bug!).
pub const fn takes_values(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        if *first == b'{' {
            return true;
        }
        rest = others;
    }
    false
}

/// Says that what cannot happen did: `bug!("no unit for {vcpu}")`. It panics under test and logs once for each place on the
/// machine, where the caller then goes on. Not for use under the console's lock, which the log takes.
///
/// A text without values costs about 100 bytes of the image, one with values twice as much: the place says most.
#[macro_export]
macro_rules! bug {
    ($text:literal $($values:tt)*) => {{
        static SITE: $crate::bug::BugSite = $crate::bug::BugSite::new($text, file!(), line!());
        if const { $crate::bug::takes_values($text) } {
            SITE.reached_with(format_args!($text $($values)*))
        } else {
            SITE.reached()
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Collect;

    impl log::Log for Collect {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            LINES.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
        }

        fn flush(&self) {}
    }

    #[test]
    fn the_machine_logs_each_place_once() {
        log::set_logger(&Collect).unwrap();
        log::set_max_level(log::LevelFilter::Error);
        let (here, there) = (BugSite::new("", "here.rs", 7), BugSite::new("", "there.rs", 9));
        for count in 0..3 {
            here.log_once(format_args!("round {count}"));
        }
        there.log_once(format_args!("once"));
        let lines = LINES.lock().unwrap();
        assert_eq!(*lines, ["ERROR: BUG at here.rs:7: round 0", "ERROR: BUG at there.rs:9: once"]);
    }

    #[test]
    fn a_test_fails_at_the_place() {
        let line = line!() + 1;
        let payload = std::panic::catch_unwind(|| crate::bug!("nothing")).unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(text.ends_with(&format!("core/src/bug.rs:{line}: nothing")), "{text}");
    }

    #[test]
    #[should_panic(expected = "no unit for vCPU 3")]
    fn a_test_fails_with_the_text() {
        let vcpu = 3;
        let unit: Option<u8> = None;
        let Some(_) = unit else { return bug!("no unit for vCPU {vcpu}") };
    }
}
