//! What a device's process says to its supervisor, by lines on a pipe.
//!
//! A device's process has no way to make hypercalls once it is confined, so the supervisor passes its reports on.

use std::fmt;

/// An error with its causes, for people. A cause that the text before it already tells is left out.
pub fn tell(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// What a device's process reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It serves; what, for people.
    Ready(String),
    /// It cannot, or can no longer; why.
    Failed(String),
}

impl Report {
    /// Reads a line. `None`: it is not a report.
    pub fn parse(line: &str) -> Option<Report> {
        match line.split_once(' ')? {
            ("ready", text) => Some(Report::Ready(text.to_owned())),
            ("failed", text) => Some(Report::Failed(text.to_owned())),
            _ => None,
        }
    }

    /// Prints it as a line on standard output. A supervisor that is gone does not hear it.
    pub fn send(&self) {
        use std::io::Write;
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{self}").and_then(|()| out.flush());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Report::Ready(text) => ("ready", text),
            Report::Failed(text) => ("failed", text),
        };
        // One line, whatever stands in the text.
        write!(f, "{word} {}", text.replace(['\n', '\r'], " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn nothing_is_told_twice() {
        let cause = std::io::Error::from_raw_os_error(2);
        let said =
            backend::Error::Open { path: "/dev/x", source: rustix::io::Errno::NOENT, advice: "load it" };
        let error = anyhow::Result::<()>::Err(said.into()).context("slot 3").unwrap_err();
        assert_eq!(tell(&error), format!("slot 3: cannot open /dev/x: {cause}; load it"));
        let error = anyhow::Result::<()>::Err(cause.into()).context("/disk.img").unwrap_err();
        assert!(tell(&error).starts_with("/disk.img: No such file"));
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        for report in [Report::Ready("serves /disk.img".into()), Report::Failed("no such file".into())] {
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
        let broken = Report::Failed("two\nlines".into()).to_string();
        assert_eq!(Report::parse(&broken), Some(Report::Failed("two lines".into())));
        assert_eq!(Report::parse("hello there"), None);
        assert_eq!(Report::parse(""), None);
    }
}
