//! A measured machine: how it is made, and what it says until it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::process::step;
use testbed::qemu::{Boot, Console, HALTS, Machine, PANICS};

/// RAM of the machines in MiB.
pub const MACHINE_MIB: u64 = 1024;
/// RAM of the first domain in MiB.
pub const DOMAIN_MIB: u64 = 512;
/// An instruction takes 2^4 ns of the machine's time, which is one tick of its counter (62.5 MHz).
const ICOUNT_SHIFT: u8 = 4;
/// The longest that a machine is waited for, by the host's clock.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a machine said, and how long it ran by the host's clock.
pub struct Run {
    lines: Vec<String>,
    /// From its start to its end.
    pub duration: Duration,
}

/// A machine with one CPU that counts instructions.
pub fn counting(boot: Boot) -> Machine {
    let mut machine = clocked(boot);
    machine.icount_shift = Some(ICOUNT_SHIFT);
    machine
}

/// The same machine at the emulator's full speed.
pub fn clocked(boot: Boot) -> Machine {
    let mut machine = Machine::new(boot);
    machine.cpus = 1;
    machine.memory_mib = MACHINE_MIB;
    machine.console = Console::Pipe;
    machine.once = true;
    machine
}

/// The hypervisor's command line.
pub fn arguments() -> String {
    format!("dom0_mem={DOMAIN_MIB}M")
}

/// Runs a machine until it powers itself off.
pub fn run(what: &str, machine: &Machine) -> Result<Run> {
    step(what, || {
        let mut command = machine.command()?;
        let begun = Instant::now();
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", machine.qemu.display()))?;
        let output = qemu.stdout.take().context("QEMU has no output")?;
        let lines = collect(output, begun);
        // It may have ended by itself: then there is nothing to end, and only the waiting remains.
        let _ = qemu.kill();
        qemu.wait()?;
        Ok(Run { lines: lines?, duration: begun.elapsed() })
    })
}

/// All lines up to the end of the output, which is the end of the machine.
///
/// # Errors
/// It panics, halts or takes too long.
fn collect(output: impl Read + Send + 'static, begun: Instant) -> Result<Vec<String>> {
    let output = BufReader::new(output);
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the output or with the receiver.
    thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            Ok(line) => {
                let is_last = HALTS.iter().chain(&PANICS).any(|words| line.contains(words));
                lines.push(line);
                if is_last {
                    bail!("the machine comes to nothing; its last lines were:\n{}", tail(&lines))
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(lines),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine did not end; its last lines were:\n{}", tail(&lines))
            }
        }
    }
}

impl Run {
    /// What follows `mark` in the first line that has it.
    pub fn after(&self, mark: &str) -> Result<&str> {
        let found = self.lines.iter().find_map(|line| Some(line.split_once(mark)?.1));
        found.with_context(|| {
            format!("the machine never said `{mark}`; its last lines were:\n{}", tail(&self.lines))
        })
    }

    /// What follows `mark` in each line that has it.
    pub fn all_after(&self, mark: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| Some(line.split_once(mark)?.1)).collect()
    }

    /// The number that follows `mark`.
    pub fn number_after(&self, mark: &str) -> Result<u64> {
        let rest = self.after(mark)?;
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().with_context(|| format!("no number follows `{mark}`: {rest}"))
    }
}

fn tail(lines: &[String]) -> String {
    const SHOWN: usize = 10;
    lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_machine_that_halts_is_not_waited_for() {
        let (output, mut machine) = std::io::pipe().unwrap();
        machine.write_all(b"noise\n(xenolith) error: nothing can be booted; halted\n").unwrap();
        let error = collect(output, Instant::now()).unwrap_err().to_string();
        assert!(error.contains("noise\n(xenolith) error: nothing can be booted; halted"), "{error}");
        drop(machine);
        assert_eq!(collect(&b"one\ntwo"[..], Instant::now()).unwrap(), ["one", "two"]);
    }

    #[test]
    fn numbers_are_found_behind_their_marks() {
        let lines = ["noise", "(xenolith) memory: 1024 MiB, kept 17 KiB"].map(str::to_owned).to_vec();
        let run = Run { lines, duration: Duration::ZERO };
        assert_eq!(run.number_after("memory:").unwrap(), 1024);
        assert_eq!(run.number_after("kept ").unwrap(), 17);
        assert!(run.number_after("MiB,").unwrap_err().to_string().contains("no number"));
        assert!(run.number_after("absent").unwrap_err().to_string().contains("kept 17 KiB"));
    }
}
