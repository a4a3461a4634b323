//! Boards that QEMU has a model of, beside its own `virt`: what differs between them, as data, and the command that boots one.
//!
//! QEMU gives them no device tree, so theirs are written here (`tree`), as far as the model goes and the scenarios need it.

mod models;
mod start;
mod tree;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use testbed::qemu::{PROGRAM, newer};

use crate::setup::Setup;

pub use models::{IMX8MP, RASPI4B, SBSA, VERSAL, VIRT_16550, ZCU102};

/// Alignment of modules: that of Linux's `Image`.
const MODULE_ALIGN: u64 = 2 << 20;

/// A board.
pub struct Board {
    /// QEMU's machine, with its options.
    machine: &'static str,
    /// Further QEMU arguments, the serial port's among them.
    arguments: &'static [&'static str],
    /// The CPUs that QEMU's machine has whatever the test wants; those that the tree does not have stay off.
    all_cpus: Option<u32>,
    /// Whether only the QEMU of Debian 12's backports has it.
    needs_newer: bool,
    /// The root's `compatible`.
    compatible: &'static [&'static str],
    /// The CPUs' `compatible`.
    cpu: &'static str,
    /// What `-m` says, in MiB.
    memory_mib: u64,
    /// RAM: start and size.
    memory: &'static [(u64, u64)],
    /// Where modules are loaded: above the hypervisor and the tree.
    modules_at: u64,
    /// How CPUs are started, and the machine stopped.
    firmware: Firmware,
    /// The interrupt controller's frames.
    gic: Gic,
    /// The console.
    uart: Uart,
    /// How the hypervisor gets control.
    start: Start,
}

/// How CPUs are started.
enum Firmware {
    /// By SMC.
    Psci,
    /// By what is written to a word for each.
    SpinTable(&'static [u64]),
}

/// An interrupt controller: start and size of each frame.
enum Gic {
    /// Distributor, CPU interface, hypervisor's interface, virtual CPU interface.
    V2([(u64, u64); 4]),
    /// Distributor and redistributors.
    V3([(u64, u64); 2]),
}

/// A UART.
struct Uart {
    compatible: &'static [&'static str],
    /// Start and size.
    registers: (u64, u64),
    /// Its interrupt: the number of an SPI, from 0.
    spi: u32,
    /// Further properties, of one cell each.
    properties: &'static [(&'static str, u32)],
}

/// How the hypervisor gets control.
enum Start {
    /// QEMU loads image and tree, and enters the image.
    Kernel,
    /// QEMU loads the image at this address, but a few instructions store these words first.
    Stores(u64, &'static [(u64, u32)]),
    /// Firmware of ours at EL3 enters the image at this address.
    Firmware(u64),
}

/// The QEMU command that runs what `setup` describes on this board instead. `scratch` is a folder for what must be written.
///
/// # Errors
/// A file cannot be read or fetched, or there is no kernel.
pub fn command(board: &Board, setup: &Setup, scratch: &Path) -> Result<Command> {
    let (program, first) = if board.needs_newer { newer()? } else { (PROGRAM.into(), Vec::new()) };
    let mut command = Command::new(program);
    command.args(first).args([
        "-machine",
        board.machine,
        "-nodefaults",
        "-nic",
        "none",
        "-display",
        "none",
        "-no-reboot",
    ]);
    command.args(board.arguments);
    command
        .arg("-smp")
        .arg(board.all_cpus.unwrap_or(setup.cpus).to_string())
        .arg("-m")
        .arg(format!("{}M", board.memory_mib));
    let mut tree = tree::of_board(board, setup.cpus)?;
    let mut next = board.modules_at;
    let kernel = setup.kernel.as_ref().context("no kernel")?;
    let modules = [("multiboot,kernel", Some(kernel)), ("multiboot,ramdisk", setup.initrd.as_ref())];
    for (kind, file) in modules.into_iter().filter_map(|(kind, file)| Some((kind, file?))) {
        let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        let bootargs = (kind == "multiboot,kernel").then_some(setup.bootargs.as_str());
        tree::add_module(&mut tree, kind, (next, size), bootargs)?;
        command.arg("-device").arg(format!("loader,file={},addr={next:#x},force-raw=on", file.display()));
        next = next.saturating_add(size).next_multiple_of(MODULE_ALIGN);
    }
    start::add(&mut command, board, setup, tree, scratch)?;
    command.args(&setup.extra);
    Ok(command)
}
