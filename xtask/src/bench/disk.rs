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
use testbed::qemu::{Boot, Common, Disk, DiskBus, Machine};
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
/// CPUs of both machines. Linux with no hypervisor uses one of them, as the guest has one vCPU.
const CPUS: u32 = 2;
/// How often both machines run.
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

/// Runs both machines in turn and adds the ratio of each job's throughput.
pub fn measure(series: Series, table: &mut Table) -> Result<()> {
    let image = paths::target().join("bench-disk.img");
    make_image(&image)?;
    let kernel = Kernel::fetch(series)?;
    let session =
        Extra { path: SESSION.into(), permissions: 0o755, data: include_bytes!("disk/session").to_vec() };
    let arguments = |console: &str| format!("console={console} quiet run=/{PROGRAM}");
    let files = domains::prepare(
        "bench",
        &Choice {
            kernel: &kernel.image(),
            modules: Some(&kernel.modules()),
            guest_args: &arguments("hvc0"),
            guest_memory: GUEST_MIB,
            guest_cpus: 1,
            control_extras: &[session],
        },
    )?;
    let alone = machine(
        &image,
        GUEST_MIB,
        Boot::Linux {
            kernel: kernel.image(),
            initrd: files.guest,
            bootargs: format!("{} maxcpus=1", arguments("ttyAMA0")),
        },
    );
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
            common: Common::default(),
        },
    );
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let alone = run::run(&format!("Disk with no hypervisor, {round} of {ROUNDS}"), &alone)?;
        let served = run::run(&format!("Disk served by lithd, {round} of {ROUNDS}"), &served)?;
        rounds.push((alone, served));
    }
    for (job, what, least) in JOBS {
        let figures = rounds
            .iter()
            .map(|(alone, served)| Ok((throughput(alone, job)?, throughput(served, job)?)))
            .collect::<Result<Vec<_>>>()?;
        for (alone, served) in &figures {
            println!("{what}: {alone} KiB/s with no hypervisor, {served} KiB/s served by lithd");
        }
        let (alone, served) = figures.iter().fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        table.push(Row {
            what: format!("disk of a guest, {what}, ratio"),
            value: served as f64 / alone as f64,
            unit: "",
            decimals: 2,
            limit: Some(Limit::AtLeast(least)),
        });
    }
    fs::remove_file(&image).with_context(|| format!("cannot remove {}", image.display()))
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
    machine.disks = vec![Disk::raw(PathBuf::from(image), DiskBus::MmioSlot(domains::DISK_SLOT))];
    machine
}

/// What a job moved, in KiB a second.
fn throughput(run: &Run, job: &str) -> Result<u64> {
    run.number_after(&format!("bench: {job} "))
}
