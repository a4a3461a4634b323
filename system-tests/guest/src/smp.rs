//! Stress on all CPUs: registers that must not mix, interrupts between CPUs, timers, counters.
//!
//! Run with more virtual than physical CPUs it tries the hypervisor's switching between them. No test asks
//! for speed: what is late by less than a hang passes.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{CpuSet, MembarrierCommand, membarrier, sched_getaffinity, sched_setaffinity};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::float::{Registers, counter};
use crate::report::Report;

/// Nothing that is awaited here takes so long, unless it never comes.
const HANG: Duration = Duration::from_secs(60);

/// Runs all stress tests; those that have no end of their own for `seconds` each.
pub fn run(report: &mut Report, seconds: u64) {
    let time = Duration::from_secs(seconds);
    report.test("FP registers of threads that share a CPU", || float(time, false));
    report.test("FP registers of threads that change CPU", || float(time, true));
    report.test("a message between each two CPUs", messages);
    report.test("barriers on all CPUs at once", barriers);
    report.test("nobody wakes early", sleeps);
    report.test("periodic timers on all CPUs", periodic);
    report.test("counters of all CPUs agree", counters);
}

/// The CPUs that are online.
pub fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Moves the calling thread to that CPU.
pub fn move_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("moving to CPU {cpu}"))
}

/// Joins all, and returns the first error.
fn join_all(threads: Vec<ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    let results: Vec<Result<()>> = threads
        .into_iter()
        .map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
        .collect();
    results.into_iter().collect()
}

/// Holds registers against those that other threads hold, two threads per CPU.
fn float(time: Duration, wander: bool) -> Result<()> {
    let (cpus, end) = (&cpus()?, Instant::now() + time);
    thread::scope(|scope| {
        let hold = |number: usize| {
            move || -> Result<()> {
                let mut round = 0;
                while Instant::now() < end {
                    if wander || round == 0 {
                        move_to(cpus[(number + round) % cpus.len()])?;
                    }
                    let before = Registers::pattern((number << 20 | round & 0xf_ffff) as u64);
                    let after = before.hold(1 + (round as u64 % 7) * 3000);
                    ensure!(before == after, "thread {number}, round {round}: {before:x?} became {after:x?}");
                    round += 1;
                }
                Ok(())
            }
        };
        join_all((0..cpus.len() * 2).map(|number| scope.spawn(hold(number))).collect())
    })
}

/// Sends numbers to and fro between threads on each pair of CPUs: each sleeps until the other wakes it.
fn messages() -> Result<()> {
    const ROUNDS: u32 = 300;
    let cpus = cpus()?;
    for (index, &one) in cpus.iter().enumerate() {
        for &other in &cpus[index + 1..] {
            let (to_other, from_one): (Sender<u32>, Receiver<u32>) = channel();
            let (to_one, from_other) = channel();
            thread::scope(|scope| {
                let echo = scope.spawn(move || -> Result<()> {
                    move_to(other)?;
                    for _ in 0..ROUNDS {
                        to_one.send(from_one.recv_timeout(HANG)?.wrapping_mul(3))?;
                    }
                    Ok(())
                });
                let call = scope.spawn(move || -> Result<()> {
                    move_to(one)?;
                    for round in 0..ROUNDS {
                        to_other.send(round)?;
                        ensure!(from_other.recv_timeout(HANG)? == round.wrapping_mul(3));
                    }
                    Ok(())
                });
                join_all(vec![echo, call])
            })
            .with_context(|| format!("between CPUs {one} and {other}"))?;
        }
    }
    Ok(())
}

/// Interrupts all CPUs on which threads of this process run, again and again, from each of them.
fn barriers() -> Result<()> {
    const ROUNDS: u32 = 60;
    membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
    let cpus = cpus()?;
    thread::scope(|scope| {
        let interrupt = |cpu| {
            move || -> Result<()> {
                move_to(cpu)?;
                for _ in 0..ROUNDS {
                    membarrier(MembarrierCommand::PrivateExpedited)?;
                }
                Ok(())
            }
        };
        join_all(cpus.iter().map(|&cpu| scope.spawn(interrupt(cpu))).collect())
    })
}

/// Sleeps of many lengths on all CPUs at once.
fn sleeps() -> Result<()> {
    let cpus = cpus()?;
    thread::scope(|scope| {
        let sleep = |cpu| {
            move || -> Result<()> {
                move_to(cpu)?;
                for length in (0..40).map(|step| Duration::from_micros(50 + 250 * step)) {
                    let start = Instant::now();
                    thread::sleep(length);
                    let slept = start.elapsed();
                    ensure!(slept >= length, "CPU {cpu}: slept {slept:?} in place of {length:?}");
                    ensure!(slept < HANG, "CPU {cpu}: slept {slept:?} in place of {length:?}");
                }
                Ok(())
            }
        };
        join_all(cpus.iter().map(|&cpu| scope.spawn(sleep(cpu))).collect())
    })
}

/// A periodic timer per CPU: as many ticks as periods, none before its time.
fn periodic() -> Result<()> {
    const PERIOD: Duration = Duration::from_millis(3);
    const TICKS: u64 = 100;
    let cpus = cpus()?;
    thread::scope(|scope| {
        let tick = |cpu| {
            move || -> Result<()> {
                move_to(cpu)?;
                let start = Instant::now();
                let mut timer = File::from(timer(PERIOD)?);
                let mut ticks = 0;
                while ticks < TICKS {
                    let mut bytes = [0; 8];
                    timer.read_exact(&mut bytes)?;
                    ticks += u64::from_ne_bytes(bytes);
                    let (passed, due) = (start.elapsed(), PERIOD * u32::try_from(ticks)?);
                    ensure!(passed >= due, "CPU {cpu}: tick {ticks} came after {passed:?}");
                    ensure!(passed < HANG, "CPU {cpu}: tick {ticks} came after {passed:?}");
                }
                Ok(())
            }
        };
        join_all(cpus.iter().map(|&cpu| scope.spawn(tick(cpu))).collect())
    })
}

fn timer(period: Duration) -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::empty())?;
    let period = Timespec { tv_sec: 0, tv_nsec: period.subsec_nanos().into() };
    let setting = Itimerspec { it_interval: period, it_value: period };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(timer)
}

/// All CPUs read the counter in turn: it never runs backwards from one to the next.
fn counters() -> Result<()> {
    const ROUNDS: usize = 100;
    let cpus = &cpus()?;
    let (turn, last, failed) = (&AtomicU64::new(0), &AtomicU64::new(0), &AtomicBool::new(false));
    thread::scope(|scope| {
        let read = |number: usize| {
            move || -> Result<()> {
                move_to(cpus[number])?;
                for round in 0..ROUNDS {
                    let mine = (round * cpus.len() + number) as u64;
                    let start = Instant::now();
                    while turn.load(Ordering::SeqCst) != mine {
                        ensure!(!failed.load(Ordering::SeqCst), "another CPU failed");
                        ensure!(start.elapsed() < HANG, "CPU {number}: its turn never comes");
                        thread::yield_now();
                    }
                    let (now, before) = (counter(), last.load(Ordering::SeqCst));
                    failed.store(now < before, Ordering::SeqCst);
                    ensure!(now >= before, "CPU {number}: counter {now}, but {before} earlier");
                    last.store(now, Ordering::SeqCst);
                    turn.store(mine + 1, Ordering::SeqCst);
                }
                Ok(())
            }
        };
        join_all((0..cpus.len()).map(|number| scope.spawn(read(number))).collect())
    })
}
