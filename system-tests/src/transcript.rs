//! Transcripts: what is typed at a control domain, and what it answers, in one text file.
//!
//! A transcript is run on our hypervisor and on Xen, and holds for both. Where they differ on purpose, it says so, line by
//! line, with the reason above.
//!
//! ```text
//! # A guest is listed.
//! $ xl list guest
//! Name ID Mem VCPUs State Time(s)
//! guest <n> 128 1 -b---- <n>
//! $ xl list nobody
//! nobody is an invalid domain identifier (rc=-6)
//! [status 1]
//! ```
//!
//! | Line | What it is |
//! |---|---|
//! | `$ command` | a command for bash; all of a file's commands run in one shell |
//! | `> more` | the command goes on in another line |
//! | `[status N]` | it ends with that status; without such a line it must succeed |
//! | `# words` | a comment |
//! | `ours\| line` | holds on our hypervisor only, and needs a comment right above that says why |
//! | `xen\| line` | holds on Xen only, likewise |
//! | `4.17\| line` | holds with these tools only; goes together with the above: `4.17 xen\| line` |
//! | any other | a line of output; runs of white space are as one space, and empty lines do not count |
//!
//! In a line of output `<n>` stands for a number, `<word>` for what has no white space, `<uuid>` for such an identifier,
//! `<any>` for anything or nothing. A line `<lines>` stands for any number of lines.

mod line;

use std::fmt::{self, Write};

use anyhow::{Context, Result, ensure};

use line::Line;

/// Where a transcript runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tools' version, as it stands before a line.
    pub version: String,
    /// Whether the hypervisor is Xen.
    pub xen: bool,
}

/// A command, and what is expected of it.
#[derive(Debug)]
pub struct Step {
    /// The number of its line in the file.
    pub number: usize,
    /// The command.
    pub command: String,
    expected: Vec<Line>,
    status: i32,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it wrote, to either output.
    pub output: String,
    /// Its status.
    pub status: i32,
}

/// The steps of a transcript that hold at that place.
///
/// # Errors
/// A line before the first command, a difference without a reason, a mark that nobody knows.
pub fn parse(text: &str, place: &Place) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut reason = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.starts_with('#') {
            reason = true;
            continue;
        }
        let (mark, line) = split_mark(line);
        let said = || format!("line {number}");
        if mark.is_some_and(|mark| mark.differs) {
            ensure!(reason, "{}: a difference needs a comment above it that says why", said());
        } else {
            reason = false;
        }
        if line.trim().is_empty() || mark.is_some_and(|mark| !mark.holds(place)) {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { number, command: command.to_owned(), expected: Vec::new(), status: 0 });
            continue;
        }
        let step = steps.last_mut().with_context(|| format!("{}: there is no command yet", said()))?;
        if let Some(more) = line.strip_prefix("> ") {
            ensure!(step.expected.is_empty(), "{}: a command does not go on after its output", said());
            step.command.push('\n');
            step.command.push_str(more);
        } else if let Some(status) = line.strip_prefix("[status ").and_then(|rest| rest.strip_suffix(']')) {
            step.status = status.parse().with_context(said)?;
        } else {
            step.expected.push(Line::parse(line).with_context(said)?);
        }
    }
    Ok(steps)
}

impl Step {
    /// What is wrong with an answer, if anything is.
    pub fn judge(&self, answer: &Answer) -> Option<String> {
        let output = line::lines_of(&answer.output);
        if answer.status == self.status && line::all_match(&self.expected, &output) {
            return None;
        }
        let mut text = format!("line {}: $ {}\n  wanted:\n", self.number, self.command);
        list(&mut text, &self.expected, self.status);
        text.push_str("  got:\n");
        list(&mut text, &output, answer.status);
        Some(text)
    }

    /// The step as a transcript would say it, with an answer as it came.
    pub fn with(&self, answer: &Answer) -> String {
        let mut text = format!("$ {}\n", self.command.replace('\n', "\n> "));
        for line in line::lines_of(&answer.output) {
            text.push_str(&line);
            text.push('\n');
        }
        if answer.status != 0 {
            text.push_str(&format!("[status {}]\n", answer.status));
        }
        text
    }
}

/// The command and what is expected of it, as a transcript has it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command.replace('\n', "\n> "))?;
        self.expected.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        match self.status {
            0 => Ok(()),
            status => writeln!(f, "[status {status}]"),
        }
    }
}

fn list<T: fmt::Display>(text: &mut String, lines: &[T], status: i32) {
    for line in lines {
        // A string takes all that is written to it.
        let _ = writeln!(text, "    {line}");
    }
    if status != 0 {
        let _ = writeln!(text, "    [status {status}]");
    }
}

/// What stands before `|` in a line that does not hold everywhere.
#[derive(Clone, Copy)]
struct Mark<'a> {
    version: Option<&'a str>,
    xen: Option<bool>,
    /// It tells the hypervisors apart.
    differs: bool,
}

impl Mark<'_> {
    fn holds(&self, place: &Place) -> bool {
        self.version.is_none_or(|version| version == place.version)
            && self.xen.is_none_or(|xen| xen == place.xen)
    }
}

/// A line's mark, if it has one, and the rest.
fn split_mark(line: &str) -> (Option<Mark<'_>>, &str) {
    let Some((words, rest)) = line.split_once('|') else { return (None, line) };
    let mut mark = Mark { version: None, xen: None, differs: false };
    for word in words.split(' ') {
        match word {
            "ours" => mark.xen = Some(false),
            "xen" => mark.xen = Some(true),
            "4.17" | "4.20" => mark.version = Some(word),
            _ => return (None, line),
        }
    }
    mark.differs = mark.xen.is_some();
    (Some(mark), rest.strip_prefix(' ').unwrap_or(rest))
}

#[cfg(test)]
mod tests;
