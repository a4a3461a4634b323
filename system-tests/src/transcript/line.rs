//! One line of expected output, with holes for what differs from run to run.

use std::fmt;

use anyhow::Result;
use regex::Regex;

/// The holes, and what fits in.
const HOLES: [(&str, &str); 5] = [
    ("<n>", r"-?[0-9]+(\.[0-9]+)?"),
    ("<hex>", "(0x)?[0-9a-fA-F]+"),
    ("<word>", r"\S+"),
    ("<uuid>", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("<any>", ".*"),
];
/// Stands for any number of lines.
const LINES: &str = "<lines>";

/// A line that is expected.
#[derive(Debug)]
pub struct Line {
    text: String,
    /// None for any number of lines.
    pattern: Option<Regex>,
}

impl Line {
    /// Reads a line of a transcript.
    pub fn parse(line: &str) -> Result<Self> {
        let text = with_single_spaces(line);
        if text == LINES {
            return Ok(Line { text, pattern: None });
        }
        let mut pattern = regex::escape(&text);
        for (hole, fits) in HOLES {
            pattern = pattern.replace(&regex::escape(hole), fits);
        }
        Ok(Line { text, pattern: Some(Regex::new(&format!("^{pattern}$"))?) })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The lines of an output as they are compared.
pub fn lines_of(output: &str) -> Vec<String> {
    output.lines().map(with_single_spaces).filter(|line| !line.is_empty()).collect()
}

/// Whether an output is the expected one, from its first line to its last.
pub fn all_match(expected: &[Line], output: &[String]) -> bool {
    match expected.split_first() {
        None => output.is_empty(),
        Some((Line { pattern: None, .. }, rest)) => {
            (0..=output.len()).any(|skipped| all_match(rest, &output[skipped..]))
        }
        Some((Line { pattern: Some(pattern), .. }, rest)) => output
            .split_first()
            .is_some_and(|(line, others)| pattern.is_match(line) && all_match(rest, others)),
    }
}

fn with_single_spaces(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
