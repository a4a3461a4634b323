//! A shell prompt at the far end of a console, as a function from a command to its output and status.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::console::Console;
use crate::others;

/// What [`PROGRAM`] prints when its shell listens.
pub const READY: &str = "SYSTEM-TESTS: shell ready";

/// The program that `run=` on the kernel's command line names: a shell on the console, without echo and prompt, that
/// the kernel's own messages no longer interrupt.
pub const PROGRAM: &str = "/bin/test-shell";

/// The text of [`PROGRAM`].
pub const SCRIPT: &str = r#"#!/bin/sh
stty -echo
dmesg -n 1
export PS1= PS2=
echo "SYSTEM-TESTS: shell ready"
sh
"#;

/// The longest line that is sent at once: Xen keeps 128 bytes of console input.
const LONGEST: usize = 127;

/// Numbers the commands of all shells, so that each waits for its own answer: a guest's console repeats what was
/// printed before it was entered.
static COUNT: AtomicU32 = AtomicU32::new(1);

/// A shell that has printed [`READY`]. Its echo is off and it prints no prompt.
pub struct Shell<'a> {
    console: &'a mut Console,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Standard output and standard error, without the last newline.
    pub output: String,
    /// The exit status.
    pub status: i32,
}

impl<'a> Shell<'a> {
    /// Waits until the shell of our initramfs listens on `console`.
    pub fn wait(console: &'a mut Console) -> Result<Self> {
        console.expect(READY)?;
        Ok(Self::that_listens(console))
    }

    /// A shell that has printed [`READY`] before.
    pub fn that_listens(console: &'a mut Console) -> Self {
        Self { console }
    }

    /// Runs `command` and waits for its end.
    ///
    /// The markers around its output are sent in two halves, so that an echo of the command is no match.
    pub fn run(&mut self, command: &str) -> Result<Outcome> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Of one width, so that a command's length does not depend on how many went before.
        let count = format!("{count:04x}");
        let line = format!("echo '<<'{count}; {command}; echo '>>'{count} $? .\n");
        ensure!(line.len() <= LONGEST, "too long for a console: {line:?}");
        self.console.send(&line)?;
        let started = || format!("running {command:?}");
        self.console.expect(&format!("<<{count}\n")).with_context(started)?;
        let output = self.console.expect(&format!(">>{count} ")).with_context(started)?;
        let status = self.console.expect(" .").with_context(started)?;
        let status = status.trim().parse().with_context(|| format!("status of {command:?}: {status:?}"))?;
        Ok(Outcome { output: others::left_out(&output), status })
    }

    /// Runs `command`, which must succeed, and returns its output.
    pub fn check(&mut self, command: &str) -> Result<String> {
        let Outcome { output, status } = self.run(command)?;
        ensure!(status == 0, "{command:?} ended with status {status}: {output}");
        Ok(output)
    }

    /// Starts `command`, which ends the shell or the machine: no status comes back.
    pub fn last(&mut self, command: &str) -> Result<()> {
        self.console.send(&format!("{command}\n"))
    }
}
