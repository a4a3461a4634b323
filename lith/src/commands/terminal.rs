//! The terminal, without its own ideas about lines.

use rustix::fd::AsFd;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// The terminal at standard input, as it comes and goes byte by byte. It becomes what it was when this goes.
#[derive(Debug)]
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Makes it so; nothing is done if standard input is no terminal.
    pub fn new() -> RawTerminal {
        let input = std::io::stdin();
        let before = isatty(input.as_fd()).then(|| tcgetattr(input.as_fd()).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // A terminal that refuses stays as it is: lines still go through.
            let _ = tcsetattr(input.as_fd(), OptionalActions::Now, &raw);
        }
        RawTerminal { before }
    }

    /// Whether there is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Drain, before);
        }
    }
}
