//! The way from reset to the first process of Linux, with the hypervisor under it and without, in the same machine.

use std::fs;

use anyhow::{Context, Result, bail};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::qemu::{Boot, StaticShared};

use super::guests::Guests;
use super::run::{self, Run};
use super::table::{Limit, Row, Table};
use super::{memory, report};

/// The longest that a boot under the hypervisor may take, as a multiple of one without.
const LARGEST_RATIO: f64 = 1.3;
/// The program in the initramfs that takes the place of /init.
const INIT: &str = "bin/bench-init";

/// Measures a kernel's boot, and with it the hypervisor's memory. Returns the kernel's full version.
pub fn measure(series: Series, guests: &Guests, table: &mut Table, clock: &mut Table) -> Result<String> {
    let kernel = Kernel::fetch(series)?;
    let mut files = Initramfs::base(&kernel::busybox()?, Some(&kernel.modules()))?;
    files.file(INIT, 0o755, fs::read(&guests.init)?);
    let initrd = paths::cache().join(format!("bench-initramfs-{series}.gz"));
    paths::write_whole(&initrd, &files.to_gzip()?)?;
    let bootargs = |console: &str| format!("console={console} quiet rdinit=/{INIT}");
    let alone = Boot::Linux { kernel: kernel.image(), initrd: initrd.clone(), bootargs: bootargs("ttyAMA0") };
    let hosted = Boot::Hypervisor {
        image: paths::image(),
        args: run::arguments(),
        kernel: Some(kernel.image()),
        initrd: Some(initrd.clone()),
        bootargs: bootargs("hvc0"),
        domains: Vec::new(),
        static_shared: StaticShared::default(),
    };
    let [alone_run, hosted_run] = [("alone", &alone), ("as a domain", &hosted)].map(|(how, boot)| {
        run::run(&format!("Boot Linux {series} {how}, counted"), &run::counting(boot.clone()))
    });
    let (alone_run, hosted_run) = (alone_run?, hosted_run?);
    let row = |what: &str, value, unit, limit| Row {
        what: format!("boot of Linux {series}{what}"),
        value,
        unit,
        decimals: 3,
        spread: None,
        limit,
    };
    let (alone_time, hosted_time) = (seconds(&alone_run)?, seconds(&hosted_run)?);
    table.push(row(", no hypervisor", alone_time, "s", None));
    table.push(row(", first domain", hosted_time, "s", None));
    table.push(row(", ratio", hosted_time / alone_time, "", Some(Limit::AtMost(LARGEST_RATIO))));
    if series == Series::V6_1 {
        memory::read(&hosted_run, table)?;
    }
    let [alone_run, hosted_run] = [("alone", alone), ("as a domain", hosted)]
        .map(|(how, boot)| run::run(&format!("Boot Linux {series} {how}"), &run::clocked(boot)));
    clock.push(row(", no hypervisor", alone_run?.duration.as_secs_f64(), "s", None));
    clock.push(row(", first domain", hosted_run?.duration.as_secs_f64(), "s", None));
    fs::remove_file(&initrd).with_context(|| format!("cannot remove {}", initrd.display()))?;
    report::kernel_version(&fs::read(kernel.image())?)
}

/// When the first process ran, in the machine's time since reset. A domain's own time begins when it starts, which the
/// hypervisor tells.
fn seconds(run: &Run) -> Result<f64> {
    let ticks = run.number_after("bench: init at ")?;
    let frequency = run.number_after(&format!("bench: init at {ticks} of "))?;
    if frequency == 0 {
        bail!("the machine's counter has no frequency");
    }
    Ok(start(run)? + ticks as f64 / frequency as f64)
}

/// When the counter of Linux showed zero: at reset, but for a domain.
fn start(run: &Run) -> Result<f64> {
    let Ok(told) = run.after("the domains start ") else { return Ok(0.0) };
    let seconds = told.split_whitespace().next().unwrap_or_default();
    seconds.parse().with_context(|| format!("no time follows `the domains start`: {told}"))
}
