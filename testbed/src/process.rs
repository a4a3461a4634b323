//! Running other programs, and telling the user which step runs and how long it took.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

/// Lines of a failed program's error output that are shown.
const TAIL: usize = 20;

/// Does `work`, which prints nothing itself, and prints one line: what, and how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprint!("  {what} …");
    let _ = std::io::stderr().flush();
    let begun = Instant::now();
    let done = work();
    let seconds = begun.elapsed().as_secs_f32();
    match &done {
        Ok(_) => eprintln!(" {seconds:.1} s"),
        Err(_) => eprintln!(" failed after {seconds:.1} s"),
    }
    done.with_context(|| format!("step failed: {what}"))
}

/// Does `work`, whose programs print their own progress, between a line that says what and one with the duration.
pub fn open_step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("  {what} …");
    let begun = Instant::now();
    let done = work().with_context(|| format!("step failed: {what}"))?;
    eprintln!("  {what}: {:.1} s", begun.elapsed().as_secs_f32());
    Ok(done)
}

/// Runs a program with no input and returns what it wrote to its standard output.
///
/// The error names the command line and ends with the last lines of its error output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| not_started(command, e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n  ");
    bail!("{} ended with {}\n  {tail}", line_of(command), output.status)
}

/// Runs a program with the caller's terminal as its own.
pub fn pass_through(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| not_started(command, e))?;
    if !status.success() {
        bail!("{} ended with {status}", line_of(command));
    }
    Ok(())
}

/// The file that a program's name stands for: the name itself if it is a path, else the first hit in `PATH` or in the
/// system folders that a plain user's `PATH` lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The command line as a user would type it.
pub fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn not_started(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => anyhow!("the program `{program}` is missing: install it, or put it in PATH"),
        _ => anyhow!("cannot start `{program}`: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_shows_its_errors() {
        let error =
            capture(Command::new("sh").args(["-c", "echo too bad >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo too bad >&2; exit 3'"), "{error}");
        assert!(error.contains("too bad"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = capture(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("`no-such-program-here` is missing"), "{error}");
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        let sh = find("sh").unwrap();
        assert_eq!(find(sh.to_str().unwrap()), Some(sh));
        assert_eq!(find("no-such-program-here"), None);
        assert_eq!(find("/no/such/file"), None);
    }
}
