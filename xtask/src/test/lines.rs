//! What a suite prints, line by line.

/// A line of a suite's output.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// So many tests begin.
    Begins(usize),
    /// A test has ended.
    Test {
        /// Its name.
        name: &'a str,
        /// How.
        outcome: Outcome,
        /// How long it took in seconds, where the suite says so.
        seconds: Option<f32>,
    },
    /// Counts that were told test by test, or nothing.
    Known,
    /// Anything else, such as the reasons of failures.
    Other,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Passed,
    /// Not so.
    Failed,
    /// It did not run.
    Ignored,
}

/// Reads a line of standard output.
pub fn read(line: &str) -> Line<'_> {
    if line.trim().is_empty() || line.starts_with("test result: ") {
        return Line::Known;
    }
    if let Some(count) = line.strip_prefix("running ").and_then(|rest| rest.split_once(" test")) {
        return count.0.parse().map_or(Line::Other, Line::Begins);
    }
    test(line).unwrap_or(Line::Other)
}

/// `test NAME ... ok <0.012s>`
fn test(line: &str) -> Option<Line<'_>> {
    let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let (word, seconds) = match end.split_once(" <") {
        Some((word, time)) => (word, time.strip_suffix("s>").and_then(|seconds| seconds.parse().ok())),
        None => (end, None),
    };
    let outcome = match word.split([',', ' ']).next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    Some(Line::Test { name: name.trim_end(), outcome, seconds })
}

/// The name and the reason in a line of error output by which a test says that it cannot run here.
pub fn skipped(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("skipped: ")?.split_once(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_test_s_end_are_read() {
        let end = |name, outcome, seconds| Line::Test { name, outcome, seconds };
        assert_eq!(read("test a::b ... ok <0.250s>"), end("a::b", Outcome::Passed, Some(0.25)));
        assert_eq!(read("test boot/gzip      ... ok"), end("boot/gzip", Outcome::Passed, None));
        assert_eq!(read("test a ... FAILED"), end("a", Outcome::Failed, None));
        assert_eq!(read("test a ... ignored, slow"), end("a", Outcome::Ignored, None));
        let example = "test src/lib.rs - client (line 7) ... ok";
        assert_eq!(read(example), end("src/lib.rs - client (line 7)", Outcome::Passed, None));
        let panicking = read("test src/lib.rs - (line 9) - should panic ... ok");
        assert!(matches!(panicking, Line::Test { outcome: Outcome::Passed, .. }));
    }

    #[test]
    fn other_lines_are_no_tests() {
        assert_eq!(read("running 12 tests"), Line::Begins(12));
        assert_eq!(read("running 1 test"), Line::Begins(1));
        assert_eq!(read("test result: ok. 2 passed; 0 failed; 0 ignored"), Line::Known);
        assert_eq!(read("thread 'a' panicked at x.rs:1:2:"), Line::Other);
        assert_eq!(read("test a ... strange"), Line::Other);
    }

    #[test]
    fn a_skipped_test_gives_its_reason() {
        let line = "skipped: uring::tests::writes: io_uring_setup: Operation not permitted";
        assert_eq!(skipped(line), Some(("uring::tests::writes", "io_uring_setup: Operation not permitted")));
        assert_eq!(skipped("warning: skipped: a: b"), None);
    }
}
