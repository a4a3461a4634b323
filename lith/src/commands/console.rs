//! `lith console`.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;

use super::control::ask;
use super::domains::find_monitored;
use super::terminal::RawTerminal;
use crate::monitor::Command;
use crate::output::say;
use crate::registry::Registry;
use crate::xen::Xen;

/// The key that leaves: Ctrl-].
const LEAVE: u8 = 0x1d;
/// Bytes that are moved at once.
const PIECE: usize = 4096;

/// Why the console is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// By its key.
    Key,
    /// The guest has gone.
    End,
}

/// `lith console`.
pub fn run(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    connect(registry, &find_monitored(xen, registry, who)?.config.name)
}

/// Connects standard input and output to a guest's console.
pub fn connect(registry: &Registry, name: &str) -> Result<()> {
    let mut stream = ask(registry, name, Command::Console)?;
    let terminal = RawTerminal::new();
    if terminal.is_terminal() {
        say(&format!("Connected to the console of {name}. Leave it with Ctrl-].\r"));
    }
    // What came together with the answer.
    let first = stream.buffer().to_vec();
    stream.consume(first.len());
    std::io::stdout().write_all(&first)?;
    std::io::stdout().flush()?;
    let left = exchange(stream.get_mut(), terminal.is_terminal());
    drop(terminal);
    match left? {
        Left::Key => say(&format!("\nLeft the console of {name}; it runs on.")),
        // A monitor removes the record before it ends.
        Left::End if registry.get(name).is_some() => {
            bail!(
                "the monitor of guest {name} has ended, and the guest may run on: `lith attach {name}` starts one"
            )
        }
        Left::End => say(&format!("\nGuest {name} has ended.")),
    }
    Ok(())
}

/// Moves bytes both ways until one side has enough. Without a terminal the end of the input is not the end.
fn exchange(stream: &mut UnixStream, is_terminal: bool) -> Result<Left> {
    let mut has_input = true;
    loop {
        let (from_guest, from_user) = wait(stream, has_input)?;
        if from_guest && !to_user(stream)? {
            return Ok(Left::End);
        }
        if from_user {
            let mut bytes = [0; PIECE];
            let count = match std::io::stdin().lock().read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count.context("cannot read what is typed")?,
            };
            let typed = bytes.get(..count).unwrap_or_default();
            if count == 0 {
                has_input = false;
                if is_terminal {
                    return Ok(Left::Key);
                }
            }
            let end = typed.iter().position(|&byte| byte == LEAVE && is_terminal);
            let sent = stream.write_all(typed.get(..end.unwrap_or(count)).unwrap_or_default());
            if end.is_some() {
                return Ok(Left::Key);
            }
            if sent.is_err() {
                return Ok(Left::End);
            }
        }
    }
}

/// Waits for either side.
fn wait(stream: &UnixStream, has_input: bool) -> Result<(bool, bool)> {
    let input = std::io::stdin();
    let mut files = vec![PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
    if has_input {
        files.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
    }
    match poll(&mut files, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("cannot wait for input"),
    }
    let is_ready = |index: usize| files.get(index).is_some_and(|file| !file.revents().is_empty());
    Ok((is_ready(0), is_ready(1)))
}

/// Prints what the guest has said. Returns whether it is still there.
fn to_user(stream: &mut UnixStream) -> Result<bool> {
    let mut bytes = [0; PIECE];
    match stream.read(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(count) => {
            let mut output = std::io::stdout().lock();
            output.write_all(bytes.get(..count).unwrap_or_default()).and_then(|()| output.flush())?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(_) => Ok(false),
    }
}
