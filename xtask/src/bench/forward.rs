//! What a forwarded access costs, from the guest's load to the value in its register: instructions altogether, and of
//! these those at EL2. The device model is as small as one can be, in the control domain, on the machine's only CPU.

use std::fs;

use anyhow::{Context, Result};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::qemu::Boot;
use testbed::toolchain::{Cross, Target};
use testbed::{image, paths, programs};

use super::guests::Guests;
use super::run::{self, Run};
use super::table::{Limit, Row, Table};

/// The most instructions that EL2 may execute for a forwarded read.
const LARGEST_EL2: f64 = 8000.0;
/// Instructions in the vectors, each time that a guest is left and entered: the account begins behind them.
const IN_VECTORS: u64 = 48;
/// The program that the control domain runs.
const SESSION: &str = "bin/bench-session";

/// Measures, and adds the figures.
pub fn measure(series: Series, guests: &Guests, table: &mut Table) -> Result<()> {
    let hypervisor = paths::cache().join("bench-accounting.img");
    image::build_variant(&Cross::prepare(Target::Hypervisor)?, &["accounting"], &hypervisor)?;
    let kernel = Kernel::fetch(series)?;
    let initrd = paths::cache().join("bench-forward.cpio");
    paths::write_whole(&initrd, &control(&kernel, guests)?.to_cpio()?)?;
    let machine = run::counting(Boot::Hypervisor {
        image: hypervisor,
        args: run::arguments(),
        kernel: Some(kernel.image()),
        initrd: Some(initrd),
        bootargs: format!("console=hvc0 quiet run=/{SESSION}"),
        domains: Vec::new(),
    });
    let run = run::run("Count the instructions of forwarded accesses", &machine)?;
    let rounds = run.all_after("bench: forwarded ");
    let accounts = accounts(&run)?;
    for (index, round) in rounds.iter().enumerate() {
        let [servers, ranges, ticks, times] = numbers(round)?;
        let reads = times as f64;
        let mut add = |what: &str, value: f64, unit, limit| {
            table.push(Row {
                what: format!("forwarded read, {servers} servers, {ranges} ranges: {what}"),
                value: value / reads,
                unit,
                decimals: 1,
                limit,
            });
        };
        add("altogether", ticks as f64, "instructions", None);
        let (before, after) = (accounts.get(index), accounts.get(index + 1));
        let (before, after) = before.zip(after).context("the hypervisor gave no account")?;
        let entries = after.1 - before.1;
        let el2 = after.0 - before.0 + entries * IN_VECTORS;
        if index == 0 {
            add("at EL2", el2 as f64, "instructions", Some(Limit::AtMost(LARGEST_EL2)));
            add("entries to EL2", entries as f64, "", None);
        }
    }
    Ok(())
}

/// The control domain's initial file system.
fn control(kernel: &Kernel, guests: &Guests) -> Result<Initramfs> {
    let mut files = Initramfs::base(&kernel::busybox()?, Some(&kernel.modules()))?;
    for (package, program) in [("lith", "lith"), ("bench-model", "bench-model")] {
        let program_file = programs::build(Target::Domain, package, program)?;
        files.file(&format!("bin/{program}"), 0o755, fs::read(program_file)?);
    }
    files.file(SESSION, 0o755, include_bytes!("forward/session").to_vec());
    files.folder("guest");
    files.file("guest/forward", 0o644, fs::read(&guests.forward)?);
    files.file("guest/forward.toml", 0o644, include_bytes!("forward/forward.toml").to_vec());
    Ok(files)
}

/// Ticks and entries that the hypervisor told, each time that it was asked.
fn accounts(run: &Run) -> Result<Vec<(u64, u64)>> {
    let told = run.all_after("cpu0: EL2 took ");
    told.iter().map(|text| numbers(text).map(|[ticks, entries]| (ticks, entries))).collect()
}

/// The numbers in a text, as many as are asked for.
fn numbers<const N: usize>(text: &str) -> Result<[u64; N]> {
    let words = text.split_whitespace().filter_map(|word| word.parse().ok());
    let found: Vec<u64> = words.take(N).collect();
    found.try_into().ok().with_context(|| format!("not {N} numbers: {text}"))
}
