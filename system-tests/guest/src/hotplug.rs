//! CPUs taken out and put back, while others work.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::float::Registers;
use crate::report::Report;
use crate::smp::{cpus, move_to};

/// Runs all tests of CPU hotplug.
pub fn run(report: &mut Report, rounds: u64) {
    report.test("CPUs leave and return", || leave_and_return(rounds));
}

fn leave_and_return(rounds: u64) -> Result<()> {
    let all = cpus()?;
    ensure!(all.len() > 1, "there is one CPU only");
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..all.len())
            .map(|number| {
                scope.spawn(move || -> Result<()> {
                    let pattern = Registers::pattern(number as u64);
                    while !done.load(Ordering::Relaxed) {
                        ensure!(pattern.hold(1000) == pattern, "worker {number} lost its registers");
                    }
                    Ok(())
                })
            })
            .collect();
        let toggled = toggle(&all, rounds);
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        toggled
    })
}

fn toggle(all: &[usize], rounds: u64) -> Result<()> {
    for round in 0..rounds {
        for &cpu in &all[1..] {
            set_online(cpu, false).with_context(|| format!("round {round}"))?;
            ensure!(!online()?.contains(&cpu), "CPU {cpu} is still online");
            set_online(cpu, true).with_context(|| format!("round {round}"))?;
            ensure!(online()? == all, "CPU {cpu} did not return");
            thread::spawn(move || move_to(cpu))
                .join()
                .map_err(|_| anyhow::anyhow!("the visitor of CPU {cpu} panicked"))??;
        }
    }
    Ok(())
}

fn set_online(cpu: usize, online: bool) -> Result<()> {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/online");
    fs::write(&file, if online { "1" } else { "0" }).with_context(|| format!("{file}, to be {online}"))
}

/// The CPUs that Linux counts as online, from a list like `0-2,4`.
fn online() -> Result<Vec<usize>> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(cpus)
}
