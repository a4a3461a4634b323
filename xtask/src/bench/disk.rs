//! A guest's disk, served by `lithd` in the driver domain, against the same disk given by QEMU to a Linux with no
//! hypervisor under it.
//!
//! The figures are times by the host's clock, so they are noisy. What is kept is the ratio of two machines that run one
//! after the other, each several times, with the same kernel, initial file system, image and `fio`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testbed::kernel::{Kernel, Series};
use testbed::programs::{self, Extra};
use testbed::qemu::{Boot, Disk, Machine, StaticShared};
use testbed::{disk_image, paths};

use super::run::{self, Run};
use super::table::{Limit, Row, Table};
use crate::run::domains::{self, Choice};

/// The program that the disk's system starts in place of a login.
const PROGRAM: &str = "bin/bench-disk";
/// The program that the control domain starts in place of its screen.
const SESSION: &str = "bin/bench-session";
/// Size of the image in MiB.
const IMAGE_MIB: u64 = 256;
/// RAM of the guest, and of the Linux with no hypervisor, in MiB.
const GUEST_MIB: u64 = 256;
/// RAM of the machine with three domains in MiB.
const MACHINE_MIB: u64 = 2048;
/// CPUs of the machines. Linux with no hypervisor uses one of them, as the guest has one vCPU.
const CPUS: u32 = 2;
/// How often the machines run.
const ROUNDS: usize = 2;

/// What the program on the disk measures: its name there, ours, and the least ratio.
const JOBS: [(&str, &str, f64); 6] = [
    ("read-4k-1", "4 KiB random reads, one at a time", 0.25),
    ("read-4k-16", "4 KiB random reads, 16 at a time", 0.25),
    ("write-4k-1", "4 KiB random writes, one at a time", 0.25),
    ("write-4k-16", "4 KiB random writes, 16 at a time", 0.25),
    ("read-1m", "1 MiB sequential reads", 0.5),
    ("write-1m", "1 MiB sequential writes", 0.5),
];

/// What each machine has printed in a round.
struct Round {
    /// Linux with no hypervisor, as QEMU starts it.
    alone: Run,
    /// The same without KASLR, as guest and driver domain are.
    fixed: Run,
    served: Run,
}

/// Runs the machines in turn and adds the ratio of each job's throughput.
pub fn measure(series: Series, table: &mut Table) -> Result<()> {
    let image = paths::target().join("bench-disk.img");
    make_image(&image)?;
    let kernel = Kernel::fetch(series)?;
    let session =
        Extra { path: SESSION.into(), permissions: 0o755, data: include_bytes!("disk/session").to_vec() };
    let arguments = |console: &str| format!("console={console} quiet run=/{PROGRAM}");
    let guest_args = format!("{} nokaslr", arguments("hvc0"));
    let files = domains::prepare(
        "bench",
        &Choice {
            kernel: &kernel.image(),
            modules: Some(&kernel.modules()),
            own_kernel: None,
            guest_args: &guest_args,
            guest_memory: GUEST_MIB,
            guest_cpus: 1,
            disks: 1,
            guests: None,
            control_extras: &[session],
        },
    )?;
    let linux = |options: &str| {
        let boot = Boot::Linux {
            kernel: kernel.image(),
            initrd: files.guest.clone(),
            bootargs: format!("{} maxcpus=1{options}", arguments("ttyAMA0")),
        };
        machine(&image, GUEST_MIB, boot)
    };
    let (alone, fixed) = (linux(""), linux(" nokaslr"));
    let served = machine(
        &image,
        MACHINE_MIB,
        Boot::Hypervisor {
            image: paths::image(),
            args: "dom0_mem=384M".into(),
            kernel: Some(kernel.image()),
            initrd: Some(files.control),
            bootargs: format!("console=hvc0 quiet run=/{SESSION}"),
            domains: vec![files.driver],
            static_shared: StaticShared::default(),
        },
    );
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let of = |what: &str| format!("{what}, {round} of {ROUNDS}");
        let alone = run::run(&of("Disk with no hypervisor"), &alone)?;
        let fixed = run::run(&of("Disk with no hypervisor, without KASLR"), &fixed)?;
        let served = run::run(&of("Disk served by lithd"), &served)?;
        rounds.push(Round { alone, fixed, served });
    }
    for (job, what, least) in JOBS {
        let throughput = |of: fn(&Round) -> &Run| {
            let number = |round| of(round).number_after(&format!("bench: {job} "));
            rounds.iter().map(number).collect::<Result<Vec<u64>>>()
        };
        let served = throughput(|round| &round.served)?;
        let mut row = |against: &str, other: &[u64], limit| {
            let (value, spread) = ratio(&served, other);
            table.push(Row {
                what: format!("disk of a guest, {what}, ratio{against}"),
                value,
                unit: "",
                decimals: 2,
                spread: Some(spread),
                limit,
            });
        };
        let (alone, fixed) = (throughput(|round| &round.alone)?, throughput(|round| &round.fixed)?);
        println!(
            "{what}, KiB/s, by round: {alone:?} and {fixed:?} with no hypervisor, {served:?} served by lithd"
        );
        row("", &alone, Some(Limit::AtLeast(least)));
        row(" to Linux without KASLR", &fixed, None);
    }
    fs::remove_file(&image).with_context(|| format!("cannot remove {}", image.display()))
}

/// The ratio of all rounds together, and the least and the largest of single ones.
fn ratio(of: &[u64], to: &[u64]) -> (f64, (f64, f64)) {
    let all = |rounds: &[u64]| rounds.iter().sum::<u64>() as f64;
    let single = || of.iter().zip(to).map(|(of, to)| *of as f64 / *to as f64);
    (all(of) / all(to), (single().fold(f64::INFINITY, f64::min), single().fold(0.0, f64::max)))
}

fn make_image(image: &Path) -> Result<()> {
    let mut files = programs::fio()?;
    let program = include_bytes!("disk/measure").to_vec();
    files.push(Extra { path: PROGRAM.into(), permissions: 0o755, data: program });
    disk_image::make(image, IMAGE_MIB, &files)
}

fn machine(image: &Path, memory_mib: u64, boot: Boot) -> Machine {
    let mut machine = run::clocked(boot);
    machine.cpus = CPUS;
    machine.memory_mib = memory_mib;
    machine.disks = vec![Disk::raw(PathBuf::from(image), domains::disk_bus(0))];
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_lies_between_those_of_its_rounds() {
        assert_eq!(ratio(&[10, 30], &[20, 30]), (0.8, (0.5, 1.0)));
    }
}
