//! `cargo xtask run`: the machine in the user's terminal.
//!
//! The usual machine has three domains: a control domain, a driver domain that owns the disk, and a guest that lives on
//! it. Options leave the first domain alone, or Linux with no hypervisor under it.

pub mod domains;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use testbed::host::{self, Need};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::qemu::{Boot, Disk, DiskBus, DiskFormat, Gic, Machine, StaticShared};

/// Port on which QEMU waits for a debugger.
const GDB_PORT: u16 = 1234;

/// What is started.
#[derive(Args)]
pub struct Options {
    /// Disk image of your own for the guest, raw or qcow2, with its root on ext4, on a partition or without any; what the
    /// guest writes is kept in it
    #[arg(long, value_name = "IMAGE")]
    disk: Option<PathBuf>,
    /// Format of that image, which else its first bytes tell: raw or qcow2
    #[arg(long, value_name = "FORMAT", requires = "disk")]
    disk_format: Option<DiskFormat>,
    /// Make the guest's disk anew: target/guest-disk.img, which else keeps what earlier runs wrote
    #[arg(long, conflicts_with = "disk")]
    fresh: bool,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    guest_memory: u64,
    /// Number of the guest's vCPUs
    #[arg(long, value_name = "N", default_value_t = 1)]
    guest_cpus: u32,
    /// Command line of the guest's kernel; `root=DEVICE` names its root, which else is the first that has an init
    #[arg(long, value_name = "ARGS", default_value = "console=hvc0 quiet")]
    guest_args: String,
    /// Start the control domain alone, with a shell
    #[arg(long)]
    only_control: bool,
    /// Boot Linux itself, with no hypervisor under it
    #[arg(long, conflicts_with = "only_control")]
    bare: bool,
    /// Version of the interrupt controller
    #[arg(long, default_value = "3", value_parser = ["2", "3"])]
    gic: String,
    /// Number of CPUs
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// CPU model, by QEMU's name
    #[arg(long, default_value = "cortex-a57")]
    cpu: String,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 2048)]
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
    /// Command line of the hypervisor [default: dom0_mem=384M conswitch=o; with --only-control dom0_mem=512M]
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
    // First of all: what is wrong with an image of the user's own is said before anything is built.
    let own = options.own_disk()?;
    if options.qemu.is_none() {
        host::ensure(&[Need::QEMU])?;
    }
    let mut machine = Machine::new(options.boot()?);
    machine.disks = options.disks(own)?;
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

impl Options {
    /// Whether the machine has the driver domain and the guest.
    fn has_guest(&self) -> bool {
        !self.bare && !self.only_control
    }

    fn boot(&self) -> Result<Boot> {
        if self.has_guest() && self.initrd.is_some() {
            bail!("--initrd is for a machine of one system: add --only-control or --bare");
        }
        let (kernel, modules) = self.linux()?;
        if self.bare {
            let bootargs = self.bootargs.replace("console=hvc0", "console=ttyAMA0");
            return Ok(Boot::Linux { initrd: self.initrd(modules.as_deref())?, kernel, bootargs });
        }
        crate::build::build()?;
        let (initrd, domains) = if self.has_guest() {
            let choice = domains::Choice {
                kernel: &kernel,
                modules: modules.as_deref(),
                guest_args: &self.guest_args,
                guest_memory: self.guest_memory,
                guest_cpus: self.guest_cpus,
                control_extras: &[],
            };
            let domains = domains::prepare("run", &choice)?;
            (domains.control, vec![domains.driver])
        } else {
            (self.initrd(modules.as_deref())?, Vec::new())
        };
        let args = if self.has_guest() { "dom0_mem=384M conswitch=o" } else { "dom0_mem=512M" };
        Ok(Boot::Hypervisor {
            image: paths::image(),
            args: self.xen_args.clone().unwrap_or_else(|| args.to_owned()),
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
    fn initrd(&self, modules: Option<&Path>) -> Result<PathBuf> {
        if let Some(own) = &self.initrd {
            return Ok(own.clone());
        }
        let path = paths::cache().join("run-initramfs.gz");
        paths::write_whole(&path, &Initramfs::base(&kernel::busybox()?, modules)?.to_gzip()?)?;
        Ok(path)
    }

    /// The disk of the user's own.
    fn own_disk(&self) -> Result<Option<Disk>> {
        let Some(file) = self.disk.clone() else { return Ok(None) };
        let format = DiskFormat::of(&file, self.disk_format)?;
        Ok(Some(Disk { format, ..Disk::raw(file, DiskBus::MmioSlot(domains::DISK_SLOT)) }))
    }

    /// The guest's disk, in the slot that the driver domain owns; a machine of one system has the user's disk only.
    fn disks(&self, own: Option<Disk>) -> Result<Vec<Disk>> {
        Ok(match own {
            Some(own) => vec![own],
            None if self.has_guest() => {
                vec![Disk::raw(domains::disk(self.fresh)?, DiskBus::MmioSlot(domains::DISK_SLOT))]
            }
            None => Vec::new(),
        })
    }
}
