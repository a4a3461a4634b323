//! What people and programs read.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes to standard output. Whoever does not want to read on need not.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the answer")
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON.
///
/// # Errors
///
/// As [`print()`].
pub fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Writes a line to standard error, as a whole: a console that others share may be theirs between two writes.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Tells someone at a terminal what goes on.
pub fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        say(&format!("{what} …"));
    }
}

/// An error with all that led to it, for people: what each says that those before it have not said.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text += ": ";
        }
        text += &cause;
    }
    text
}

/// To which side a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At its left end.
    Left,
    /// At its right end, as numbers do.
    Right,
}

/// Lines with columns: a head, then rows. Columns are as wide as they must be; two spaces are between them.
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let name = head.get(column).map_or(0, |(name, _)| name.chars().count());
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([name]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let names = head.iter().map(|(name, _)| (*name).to_owned()).collect();
    let line = |cells: &Vec<String>| {
        let columns = cells.iter().zip(head).zip(&widths).map(|((cell, (_, align)), &width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        columns.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    std::iter::once(&names).chain(rows).map(line).collect()
}

/// Lines with a name and a value each. Those without a value are left out.
pub fn facts(facts: &[(&str, String)]) -> String {
    let facts: Vec<_> = facts.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_explained_twice() {
        let inner = std::io::Error::other("no such page");
        let error =
            anyhow::Error::new(inner).context("cannot map: no such page; go home").context("guest web");
        assert_eq!(explain(&error), "guest web: cannot map: no such page; go home");
    }

    #[test]
    fn columns_stand_in_line() {
        let head = [("NAME", Align::Left), ("ID", Align::Right), ("STATE", Align::Left)];
        let rows = [
            vec!["web".into(), "12".into(), "running".into()],
            vec!["database".into(), "3".into(), "off".into()],
        ];
        assert_eq!(table(&head, &rows), "NAME      ID  STATE\nweb       12  running\ndatabase   3  off\n");
        assert_eq!(table(&head, &[]), "NAME  ID  STATE\n");
    }

    #[test]
    fn facts_stand_in_line_and_need_a_value() {
        let text = facts(&[("Memory", "1 MiB".into()), ("Name", String::new()), ("vCPUs", "2".into())]);
        assert_eq!(text, "Memory  1 MiB\nvCPUs   2\n");
    }
}
