//! What is wrong with a guest's file, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// An error of a file, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Line and column, both from 1; none if the whole file is meant.
    place: Option<(usize, usize)>,
    key: Option<String>,
    message: String,
}

impl ConfigError {
    /// The file cannot be read.
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
        ConfigError {
            file: file.to_owned(),
            place: None,
            key: None,
            message: format!("cannot be read: {error}"),
        }
    }

    /// The line of the error, from 1.
    pub fn line(&self) -> Option<usize> {
        self.place.map(|(line, _)| line)
    }

    /// The key that the error is about, for instance `disk[1].image`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": {key}: {}", self.message),
            None => write!(f, ": {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A file's name and text, from which places in errors are computed.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Source<'a> {
        Source { file, text }
    }

    /// An error at some bytes of the text, or about all of it.
    pub(super) fn error(
        &self,
        span: Option<Range<usize>>,
        key: Option<String>,
        message: impl Into<String>,
    ) -> ConfigError {
        let place = span.map(|span| self.place(span.start));
        ConfigError { file: self.file.to_owned(), place, key, message: message.into() }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let bytes = self.text.as_bytes();
        let before = bytes.get(..offset).unwrap_or(bytes);
        let line = before.iter().filter(|&&byte| byte == b'\n').count().saturating_add(1);
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let in_line = before.get(start..).unwrap_or_default();
        (line, String::from_utf8_lossy(in_line).chars().count().saturating_add(1))
    }
}

/// The choice that was probably meant: the one with the fewest changed letters, if those are few.
pub fn nearest<'a>(word: &str, choices: &[&'a str]) -> Option<&'a str> {
    let allowed = word.chars().count().div_ceil(3).min(3);
    let near = choices.iter().map(|&choice| (strsim::levenshtein(word, choice), choice));
    near.filter(|&(distance, _)| distance <= allowed).min().map(|(_, choice)| choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source::new(Path::new("x"), "ä = 1\nöb = 2\n");
        assert_eq!((source.place(0), source.place(7), source.place(9)), ((1, 1), (2, 1), (2, 2)));
        assert_eq!(source.place(1000), (3, 1));
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["memory", "kernel", "vcpus"];
        assert_eq!(nearest("memroy", &keys), Some("memory"));
        assert_eq!(nearest("vcpu", &keys), Some("vcpus"));
        assert_eq!(nearest("network", &keys), None);
        assert_eq!((nearest("", &keys), nearest(&"k".repeat(1 << 16), &keys)), (None, None));
    }
}
