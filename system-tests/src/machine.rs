//! A running machine: one QEMU process, which ends with the value that stands for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use testbed::process::line_of;

use crate::console::Console;
use crate::setup::Setup;
use crate::shell::Shell;

/// A machine that runs. Dropping it ends its QEMU.
pub struct Machine {
    qemu: Child,
    /// Its serial console.
    pub console: Console,
}

impl Machine {
    /// Starts the machine of a test. `folder` is the test's own: the console log and scratch files go there.
    pub fn start(setup: &Setup, folder: &Path) -> Result<Self> {
        Self::start_command(setup.command(folder)?, folder)
    }

    /// Starts a machine with a command of one's own, whose standard input and output are its console.
    pub fn start_command(mut command: Command, folder: &Path) -> Result<Self> {
        fs::write(folder.join("qemu-command"), line_of(&command) + "\n")?;
        let mut qemu = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("qemu-errors"))?)
            .spawn()
            .context("starting QEMU")?;
        let output = qemu.stdout.take().context("the machine's output")?;
        let input = qemu.stdin.take().context("the machine's input")?;
        let console = Console::new(output, input, &log_file(folder))?;
        Ok(Self { qemu, console })
    }

    /// Waits for the shell of our initramfs.
    pub fn shell(&mut self) -> Result<Shell<'_>> {
        Shell::wait(&mut self.console)
    }

    /// Waits for `word` on the console; returns what came before it.
    pub fn expect(&mut self, word: &str) -> Result<String> {
        self.console.expect(word)
    }

    /// Waits until the machine has powered off or reset (QEMU then ends), and returns its last words.
    pub fn wait_for_end(&mut self) -> Result<String> {
        let rest = self.console.rest()?;
        let status = self.qemu.wait()?;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(rest)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and only the waiting remains.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Where a test's console log is kept.
pub fn log_file(folder: &Path) -> PathBuf {
    folder.join("console.log")
}
