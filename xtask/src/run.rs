//! `cargo xtask run`: the machine in the user's terminal.
//!
//! The usual machine has three domains: a control domain, a driver domain that owns the disk, and a guest that lives on
//! it. Options put guests of the user's own in its place, leave the first domain alone, or Linux with no hypervisor under it.
//! What contradicts itself or does not exist is said before anything is fetched, built or booted.

mod check;
pub mod domains;
mod own;
mod own_kernel;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use lith::config::MAX_VCPUS;
use testbed::host::{self, Need};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::qemu::{Boot, Disk, DiskFormat, Gic, Machine, StaticShared};

use check::Own;
use own::OwnFile;

/// The most CPUs that the hypervisor uses.
const MAX_CPUS: i64 = 64;
/// The least memory of a machine, and of a guest, in MiB: a kernel of Debian's and its initial file system take most of it.
const LEAST_MIB: u64 = 128;
const LEAST_GUEST_MIB: u64 = 96;
/// Port on which QEMU waits for a debugger.
const GDB_PORT: u16 = 1234;

/// What is started.
#[derive(Args)]
pub struct Options {
    /// Disk image of your own, raw or qcow2; what is written there is kept in it. The usual guest boots from the first: the
    /// kernel that its boot loader would start, or if it has none, that of the other domains, with the root on ext4, on a
    /// partition or without any. May be there several times: /dev/vda, /dev/vdb … of the guest
    #[arg(long = "disk", value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Format of these images, which else their first bytes tell: raw or qcow2
    #[arg(long, value_name = "FORMAT", requires = "images")]
    disk_format: Option<DiskFormat>,
    /// Make the guest's disk anew: target/guest-disk.img, which else keeps what earlier runs wrote
    #[arg(long, conflicts_with = "images")]
    fresh: bool,
    /// Memory of the guest in MiB [default: 256, and 512 with a kernel of its own]
    #[arg(long, value_name = "MIB", value_parser = value_parser!(u64).range(LEAST_GUEST_MIB..))]
    guest_memory: Option<u64>,
    /// Number of the guest's vCPUs: 8 at most with --gic 2
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=i64::from(MAX_VCPUS)))]
    guest_cpus: u16,
    /// Command line of the guest's kernel, behind what the image's own boot loader says; `root=` names its root by its device,
    /// UUID, LABEL or PARTUUID, which else is the first that has an init
    #[arg(long, value_name = "ARGS", default_value = "console=hvc0 quiet")]
    guest_args: String,
    /// Boot the guest by the kernel of the other domains, also if its image has one
    #[arg(long, requires = "images", conflicts_with = "guests")]
    no_own_kernel: bool,
    /// Guest of your own in place of the usual one: a file as docs/lith.md describes it. May be there several times; the
    /// first one's console is shown
    #[arg(long = "guest", value_name = "FILE.toml")]
    #[arg(conflicts_with_all = ["guest_memory", "guest_cpus", "guest_args", "only_control", "bare"])]
    guests: Vec<PathBuf>,
    /// File of your own in the control domain: /guest/NAME, where a guest's file finds it by its name alone, or PATH. May
    /// be there several times
    #[arg(long = "file", value_name = "FILE[:PATH]", conflicts_with_all = ["bare", "initrd"])]
    files: Vec<OwnFile>,
    /// Start the control domain alone, with a shell
    #[arg(long)]
    only_control: bool,
    /// Boot Linux itself, with no hypervisor under it
    #[arg(long, conflicts_with = "only_control")]
    bare: bool,
    /// Version of the interrupt controller
    #[arg(long, default_value = "3", value_parser = ["2", "3"])]
    gic: String,
    /// Number of CPUs: 8 at most with --gic 2
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=MAX_CPUS))]
    cpus: u32,
    /// CPU model, by QEMU's name
    #[arg(long, default_value = "cortex-a57")]
    cpu: String,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = value_parser!(u64).range(LEAST_MIB..))]
    memory: u64,
    /// Kernel of Debian to fetch, which all domains boot: 6.1 or 6.12
    #[arg(long, default_value_t = Series::V6_12)]
    kernel_version: Series,
    /// Kernel of your own, in place of Debian's; it has what it needs built in
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initial file system of your own, with --only-control or --bare
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// QEMU program of your own
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
    /// Command line of the hypervisor [default: conswitch=o dom0_mem=384M, and more for --file; with --only-control
    /// dom0_mem=512M]
    #[arg(long, value_name = "ARGS")]
    xen_args: Option<String>,
    /// Command line of the first domain's kernel
    #[arg(long, value_name = "ARGS", default_value = "console=hvc0 quiet")]
    bootargs: String,
    /// Wait for a debugger on TCP port 1234
    #[arg(long)]
    gdb: bool,
}

/// Sets up, builds, and becomes QEMU.
pub fn run(options: &Options) -> Result<()> {
    remove_old_files()?;
    let own = options.check(own_kernel::take)?;
    if options.qemu.is_none() {
        host::ensure(&[Need::QEMU])?;
    }
    let mut machine = Machine::new(options.boot(&own)?);
    machine.disks = options.disks(own.disks)?;
    machine.gic = if options.gic == "2" { Gic::V2 } else { Gic::V3 };
    machine.cpus = options.cpus;
    machine.cpu.clone_from(&options.cpu);
    machine.memory_mib = options.memory;
    if let Some(qemu) = &options.qemu {
        machine.qemu.clone_from(qemu);
    }
    if options.gdb {
        machine.gdb_port = Some(GDB_PORT);
        eprintln!("Waiting: gdb-multiarch {} -ex 'target remote :{GDB_PORT}'", paths::image_elf().display());
    }
    let mut command = machine.command()?;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", machine.qemu.display()))
}

/// What the names of folders of one machine's files begin with.
const FOLDER: &str = "run-";

/// The folder of this machine's files in the cache, for it alone: several may be started at once. This process becomes QEMU.
fn folder() -> String {
    format!("{FOLDER}{}", std::process::id())
}

/// Removes the files of machines that are no more.
fn remove_old_files() -> Result<()> {
    let Ok(entries) = fs::read_dir(paths::cache()) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Someone else may do the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

impl Options {
    /// Memory of the first domain in MiB. What the user puts into it is there twice while Linux unpacks it.
    fn control_mib(&self, own: &Own) -> u64 {
        let files: usize = own.files.iter().map(|file| file.data.len()).sum();
        let base = if self.has_guest() { 384 } else { 512 };
        // The usual guest's kernel is in the base.
        let kernel = own.kernel.as_ref().map_or(0, |kernel| kernel.size);
        base + (2 * files as u64 + 2 * kernel).div_ceil(1 << 20)
    }

    /// Memory of the usual guest in MiB.
    fn guest_mib(&self, own: &Own) -> u64 {
        self.guest_memory.unwrap_or(if own.kernel.is_some() { 512 } else { 256 })
    }

    /// Whether the machine has the driver domain and the guest.
    fn has_guest(&self) -> bool {
        !self.bare && !self.only_control
    }

    fn boot(&self, own: &Own) -> Result<Boot> {
        let (kernel, modules) = self.linux()?;
        if self.bare {
            let bootargs = self.bootargs.replace("console=hvc0", "console=ttyAMA0");
            return Ok(Boot::Linux { initrd: self.initrd(modules.as_deref(), own)?, kernel, bootargs });
        }
        crate::build::build()?;
        let (initrd, domains) = if self.has_guest() {
            let choice = domains::Choice {
                kernel: &kernel,
                modules: modules.as_deref(),
                guest_args: &self.guest_args,
                guest_memory: self.guest_mib(own),
                own_kernel: own.kernel.as_ref(),
                guest_cpus: self.guest_cpus,
                disks: own.disks.len().max(1),
                guests: own.guests.as_deref(),
                control_extras: &own.files,
            };
            let domains = domains::prepare(&folder(), &choice)?;
            (domains.control, vec![domains.driver])
        } else {
            (self.initrd(modules.as_deref(), own)?, Vec::new())
        };
        let conswitch = if self.has_guest() { " conswitch=o" } else { "" };
        let args = format!("dom0_mem={}M{conswitch}", self.control_mib(own));
        Ok(Boot::Hypervisor {
            image: paths::image(),
            args: self.xen_args.clone().unwrap_or(args),
            kernel: Some(kernel),
            initrd: Some(initrd),
            bootargs: self.bootargs.clone(),
            domains,
            static_shared: StaticShared::default(),
        })
    }

    /// The kernel, and the folder of its modules: the user's, or Debian's.
    fn linux(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        if let Some(own) = &self.kernel {
            return Ok((own.clone(), None));
        }
        let fetched = Kernel::fetch(self.kernel_version)?;
        Ok((fetched.image(), Some(fetched.modules())))
    }

    /// The initial file system of a machine with one system.
    fn initrd(&self, modules: Option<&Path>, own: &Own) -> Result<PathBuf> {
        if let Some(own) = &self.initrd {
            return Ok(own.clone());
        }
        let path = paths::cache().join(folder()).join("initramfs.gz");
        let mut base = Initramfs::base(&kernel::busybox()?, modules)?;
        base.extras(&own.files);
        paths::write_whole(&path, &base.to_gzip()?)?;
        Ok(path)
    }

    /// The disks in the slots that the driver domain owns: the user's, or the guest's. A machine of one system has the
    /// user's only.
    fn disks(&self, own: Vec<Disk>) -> Result<Vec<Disk>> {
        if own.is_empty() && self.has_guest() {
            return Ok(vec![Disk::raw(domains::disk(self.fresh)?, domains::disk_bus(0))]);
        }
        Ok(own)
    }
}
