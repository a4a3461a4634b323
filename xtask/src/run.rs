//! `cargo xtask run`: the hypervisor with its first domain, in the user's terminal.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use testbed::host::{self, Need};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::qemu::{Boot, Gic, Machine};

/// Port on which QEMU waits for a debugger.
const GDB_PORT: u16 = 1234;

/// What is started.
#[derive(Args)]
pub struct Options {
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
    /// Kernel of Debian to fetch and boot: 6.1 or 6.12
    #[arg(long, default_value_t = Series::V6_1)]
    kernel_version: Series,
    /// Kernel of your own, in place of Debian's
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initial file system of your own
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// QEMU program of your own
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
    /// Command line of the hypervisor
    #[arg(long, value_name = "ARGS", default_value = "dom0_mem=512M")]
    xen_args: String,
    /// Command line of the domain's kernel
    #[arg(long, value_name = "ARGS", default_value = "console=hvc0 quiet")]
    bootargs: String,
    /// Wait for a debugger on TCP port 1234
    #[arg(long)]
    gdb: bool,
    /// Boot Linux itself, with no hypervisor under it
    #[arg(long)]
    bare: bool,
}

/// Sets up, builds, and becomes QEMU.
pub fn run(options: &Options) -> Result<()> {
    if options.qemu.is_none() {
        host::ensure(&[Need::QEMU])?;
    }
    let (kernel, initrd) = options.first_domain()?;
    let boot = if options.bare {
        Boot::Linux { kernel, initrd, bootargs: options.bootargs.replace("console=hvc0", "console=ttyAMA0") }
    } else {
        crate::build::build()?;
        Boot::Hypervisor {
            image: paths::image(),
            args: options.xen_args.clone(),
            kernel: Some(kernel),
            initrd: Some(initrd),
            bootargs: options.bootargs.clone(),
            domains: Vec::new(),
        }
    };
    let mut machine = Machine::new(boot);
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
    /// The kernel and the initial file system: the user's, or those that are fetched and made.
    fn first_domain(&self) -> Result<(PathBuf, PathBuf)> {
        let (kernel, modules) = match &self.kernel {
            Some(own) => (own.clone(), None),
            None => {
                let fetched = Kernel::fetch(self.kernel_version)?;
                (fetched.image(), Some(fetched.modules()))
            }
        };
        let initrd = match &self.initrd {
            Some(own) => own.clone(),
            None => make_initrd(modules.as_deref())?,
        };
        Ok((kernel, initrd))
    }
}

fn make_initrd(modules: Option<&Path>) -> Result<PathBuf> {
    let path = paths::cache().join("run-initramfs.gz");
    paths::write_whole(&path, &Initramfs::base(&kernel::busybox()?, modules)?.to_gzip()?)?;
    Ok(path)
}
