//! What a forwarded access costs, from the guest's load to the value in its register: instructions altogether, and of
//! these those at EL2. The device model is as small as one can be, in the control domain, on the machine's only CPU.

use std::fs;

use anyhow::{Context, Result, ensure};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::qemu::{Boot, StaticShared};
use testbed::toolchain::{Cross, Target};
use testbed::{image, paths, programs};

use super::guests::Guests;
use super::run::{self, Run};
use super::table::{Limit, Row, Table};

/// The most instructions that EL2 may execute for a forwarded read.
const LARGEST_EL2: f64 = 7844.0;
/// The most that a forwarded read may cost with all servers and ranges, against one with one of each.
const FLAT: f64 = 1.05;
/// The most instructions that a CPU may work at EL2 without a look whether an interrupt waits.
const LONGEST_STAY: f64 = 100_000.0;
/// Instructions in the vectors, each time that a guest is left and entered: the account begins behind them.
const IN_VECTORS: u64 = 48;
/// The program that the control domain runs.
const SESSION: &str = "bin/bench-session";

/// Rounds that the device model plays (`bench/model`).
const ROUNDS: usize = 4;

/// What one read of a round cost.
struct Round {
    servers: u64,
    ranges: u64,
    /// Instructions altogether.
    all: f64,
    /// Of these at EL2.
    el2: f64,
    /// Entries to EL2.
    entries: f64,
}

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
        static_shared: StaticShared::default(),
    });
    let run = run::run("Count the instructions of forwarded accesses", &machine)?;
    let rounds = rounds(&run)?;
    ensure!(
        rounds.len() == ROUNDS,
        "{} of {ROUNDS} rounds were told of: the device model failed",
        rounds.len()
    );
    show(&rounds, table)?;
    show_longest(&run, table)
}

/// Adds the longest work at EL2 between two looks for interrupts, from the start of the control domain on: the making of guests
/// and the end of a large one are among it.
fn show_longest(run: &Run, table: &mut Table) -> Result<()> {
    let told = run.all_after("cpu0: EL2 took ");
    let [_, _, longest] = numbers(told.last().context("the hypervisor gave no account")?)?;
    table.push(Row {
        what: "longest work at EL2 without a look for interrupts".into(),
        value: longest as f64,
        unit: "instructions",
        decimals: 0,
        spread: None,
        limit: Some(Limit::AtMost(LONGEST_STAY)),
    });
    Ok(())
}

impl Round {
    /// What there is in it, in words.
    fn name(&self) -> String {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let Round { servers, ranges, .. } = *self;
        format!("forwarded read, {servers} server{}, {ranges} range{}", plural(servers), plural(ranges))
    }
}

/// Adds what the rounds cost, and judges the first one and the difference that the last one makes.
fn show(rounds: &[Round], table: &mut Table) -> Result<()> {
    let mut add = |round: &Round, what: &str, value: f64, unit, decimals, limit| {
        table.push(Row {
            what: format!("{}{what}", round.name()),
            value,
            unit,
            decimals,
            spread: None,
            limit,
        });
    };
    let (first, last) = rounds.first().zip(rounds.last()).context("no round was told of")?;
    for round in rounds {
        add(round, ": altogether", round.all, "instructions", 1, None);
    }
    add(first, ": at EL2", first.el2, "instructions", 1, Some(Limit::AtMost(LARGEST_EL2)));
    add(first, ": entries to EL2", first.entries, "", 1, None);
    let flat = Some(Limit::AtMost(FLAT));
    add(last, " against the first: altogether", last.all / first.all, "", 3, flat);
    add(last, " against the first: at EL2", last.el2 / first.el2, "", 3, flat);
    Ok(())
}

/// The rounds that the control domain told of, with what the hypervisor told before and after each.
fn rounds(run: &Run) -> Result<Vec<Round>> {
    let accounts = accounts(run)?;
    let told = run.all_after("bench: forwarded ");
    let round = |(index, text): (usize, &&str)| {
        let [servers, ranges, ticks, reads] = numbers(text)?;
        // What is set up between two rounds is in none.
        let [before, after] = accounts.get(index).context("the hypervisor gave no account")?;
        let entries = after.1 - before.1;
        let el2 = after.0 - before.0 + entries * IN_VECTORS;
        let of_one = |value: u64| value as f64 / reads as f64;
        Ok(Round { servers, ranges, all: of_one(ticks), el2: of_one(el2), entries: of_one(entries) })
    };
    told.iter().enumerate().map(round).collect()
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
    files.file("guest/large.toml", 0o644, include_bytes!("forward/large.toml").to_vec());
    Ok(files)
}

/// Ticks and entries that the hypervisor told, before and after each round.
fn accounts(run: &Run) -> Result<Vec<[(u64, u64); 2]>> {
    let told = run.all_after("cpu0: EL2 took ");
    let account = |text: &&str| numbers(text).map(|[ticks, entries]| (ticks, entries));
    let told: Vec<(u64, u64)> = told.iter().map(account).collect::<Result<_>>()?;
    Ok(told.as_chunks().0.to_vec())
}

/// The numbers in a text, as many as are asked for.
fn numbers<const N: usize>(text: &str) -> Result<[u64; N]> {
    let words = text.split_whitespace().filter_map(|word| word.parse().ok());
    let found: Vec<u64> = words.take(N).collect();
    found.try_into().ok().with_context(|| format!("not {N} numbers: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_servers_and_ranges_must_not_cost_more() {
        let round = |servers, ranges, all, el2| Round { servers, ranges, all, el2, entries: 3.4 };
        let shown = |rounds: &[Round]| {
            let mut table = Table::default();
            show(rounds, &mut table).map(|()| table.to_string())
        };
        let text = shown(&[round(1, 1, 20000.0, 7000.0), round(8, 2000, 20900.0, 7400.0)]).unwrap();
        let verdict = |what: &str| {
            let line = text.lines().find(|line| line.contains(what)).unwrap();
            line.rsplit('|').nth(1).unwrap().trim()
        };
        assert_eq!(verdict("1 server, 1 range: at EL2"), "kept", "{text}");
        assert_eq!(verdict("8 servers, 2000 ranges against the first: altogether"), "kept", "{text}");
        assert_eq!(verdict("8 servers, 2000 ranges against the first: at EL2"), "EXCEEDED", "{text}");
        assert!(shown(&[]).is_err());
    }
}
