//! The balloon: memory given back to the hypervisor and taken again, asked for through Linux's sysfs.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::pages::{PAGE, Pages};
use crate::report::Report;

const TARGET: &str = "/sys/devices/system/xen_memory/xen_memory0/target_kb";
const CURRENT: &str = "/sys/devices/system/xen_memory/xen_memory0/info/current_kb";
/// How much goes and comes.
const STEP_KIB: u64 = 64 * 1024;
/// A balloon moves this much in far less time, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(100);

/// Runs all tests of ballooning.
pub fn run(report: &mut Report) {
    report.test("memory balloons down and up, again and again", down_and_up);
    report.test("memory that came back holds what is written", came_back);
}

fn number(file: &str) -> Result<u64> {
    let text = fs::read_to_string(file).context(file.to_string())?;
    text.trim().parse().with_context(|| format!("{file}: {text:?}"))
}

/// A line of /proc/meminfo, in KiB.
fn meminfo(key: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_whitespace().next()).context("no such line in meminfo")?;
    Ok(value.parse()?)
}

/// Gives `kib` KiB back to the hypervisor, or takes as many if it is negative.
pub fn give_back(kib: i64) -> Result<()> {
    let target = number(CURRENT)?.checked_add_signed(-kib).context("more than there is")?;
    balloon_to(target)
}

/// Sets the balloon's target and waits until it is reached.
fn balloon_to(target: u64) -> Result<()> {
    fs::write(TARGET, target.to_string()).context(TARGET)?;
    let deadline = Instant::now() + PATIENCE;
    while number(CURRENT)? != target {
        if Instant::now() > deadline {
            bail!("at {} KiB on the way to {target} KiB", number(CURRENT)?);
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn down_and_up() -> Result<()> {
    let (start, total) = (number(CURRENT)?, meminfo("MemTotal")?);
    for _ in 0..3 {
        balloon_to(start - STEP_KIB).context("down")?;
        let shrunk = meminfo("MemTotal")?;
        ensure!(shrunk == total - STEP_KIB, "MemTotal was {total}, now {shrunk} KiB");
        balloon_to(start).context("up")?;
        let regrown = meminfo("MemTotal")?;
        ensure!(regrown == total, "MemTotal was {total}, now {regrown} KiB");
    }
    Ok(())
}

fn came_back() -> Result<()> {
    let start = number(CURRENT)?;
    let free = meminfo("MemFree")?;
    // So much goes that the pages which come back must be among those used below.
    let step = (free / 2).min(4 * STEP_KIB).next_multiple_of(1024);
    balloon_to(start - step)?;
    balloon_to(start)?;
    let bytes = usize::try_from((meminfo("MemFree")? - 32 * 1024) * 1024)?;
    let pages = Pages::anonymous(bytes / PAGE)?;
    for page in 0..bytes / PAGE {
        pages.put(page * PAGE, &page.to_ne_bytes());
    }
    for page in 0..bytes / PAGE {
        ensure!(pages.word(page * PAGE) == u64::try_from(page)?, "page {page} lost its content");
    }
    Ok(())
}
