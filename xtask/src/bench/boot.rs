//! The time from the machine's start to the first domain's init.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::process::step;
use testbed::qemu::{Console, Machine};

/// What the domain's init prints first.
const MARK: &str = "init: ready";
/// The longest that a boot is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The quickest of several boots.
pub fn quickest(mut machine: Machine, boots: usize) -> Result<Duration> {
    machine.console = Console::Pipe;
    machine.once = true;
    let mut best = Duration::MAX;
    for _ in 0..boots {
        best = best.min(step("Boot", || boot(&machine))?);
    }
    Ok(best)
}

fn boot(machine: &Machine) -> Result<Duration> {
    let mut command = machine.command()?;
    let begun = Instant::now();
    let mut qemu =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let output = BufReader::new(qemu.stdout.take().context("QEMU has no output")?);
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let reached = wait_for_mark(&lines, begun);
    drop(lines);
    qemu.kill()?;
    qemu.wait()?;
    reader.join().ok();
    reached
}

fn wait_for_mark(lines: &mpsc::Receiver<String>, begun: Instant) -> Result<Duration> {
    let mut last = String::new();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains(MARK) => return Ok(begun.elapsed()),
            Ok(line) => last = line,
            Err(_) => bail!("the boot did not reach `{MARK}`; the last line was: {}", last.trim_end()),
        }
    }
}
