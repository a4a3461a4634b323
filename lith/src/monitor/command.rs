//! What a monitor is told through its socket: one line of JSON, answered by one.
//!
//! After the answer to `console`, both sides send the console's bytes as they are.

use serde::{Deserialize, Serialize};

use crate::output::explain;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Connect to the console.
    Console,
    /// Ask the guest to turn itself off; answered when its kernel has taken the request.
    Shutdown,
    /// Ask the guest to start again; answered likewise.
    Reboot,
    /// Ask the guest to turn itself off, and let that or any other end be its last, whatever its file says; answered at
    /// once.
    Retire,
    /// Destroy the guest and start it again.
    Reset,
    /// Destroy the guest and end.
    Destroy,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is done, or begun.
    Done,
    /// It is not, and why.
    Refused(String),
}

impl Answer {
    /// The answer that a result is.
    pub fn of(result: &anyhow::Result<()>) -> Answer {
        match result {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(explain(error)),
        }
    }
}

impl Command {
    /// What the guest finds in its `control/shutdown` when it is asked to end.
    pub fn shutdown_request(self) -> Option<&'static str> {
        match self {
            Command::Shutdown | Command::Retire => Some("poweroff"),
            Command::Reboot => Some("reboot"),
            Command::Console | Command::Reset | Command::Destroy => None,
        }
    }
}

/// A value as a line.
pub fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_line() {
        assert_eq!(line(&Command::Shutdown), b"{\"command\":\"shutdown\"}\n");
        assert_eq!(line(&Answer::Refused("no".into())), b"{\"refused\":\"no\"}\n");
        assert_eq!(Answer::of(&Err(anyhow::anyhow!("no").context("web"))), Answer::Refused("web: no".into()));
        let command: Command = serde_json::from_str("{\"command\":\"console\"}").unwrap();
        assert_eq!((command, command.shutdown_request()), (Command::Console, None));
        assert!(serde_json::from_str::<Command>("{\"command\":\"halt\"}").is_err());
    }
}
