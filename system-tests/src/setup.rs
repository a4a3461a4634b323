//! What a machine is made of: the board, what is loaded, and with which command lines.
//!
//! The QEMU command line is the launcher's of `testbed`. What is added here is what only tests want: an entry at the
//! wrong exception level, a device tree of our own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testbed::qemu::{Boot, BootDomain, Console, Disk, Gic, Machine, StaticShared, newer};

use crate::assets::Assets;
use crate::spin_table;

/// Where QEMU puts the hypervisor: the first 2 MiB boundary of RAM that leaves room for its own first instructions.
const HYPERVISOR_AT: u64 = 0x4020_0000;
/// Where a device tree of ours goes: between QEMU's own and the modules.
const TREE_AT: u64 = 0x4880_0000;
/// Where the few instructions go that then enter the hypervisor with that tree.
pub(crate) const STUB_AT: u64 = 0x48c0_0000;

/// Who gets control first, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The hypervisor at EL2, by Linux's boot protocol; kernel and ram disk are its modules.
    Hypervisor,
    /// The hypervisor at EL1.
    HypervisorAtEl1,
    /// The hypervisor at EL2, with this file as its device tree, byte for byte.
    HypervisorWithTree(PathBuf),
    /// The same, when firmware has left the further CPUs waiting in a [spin table](crate::spin_table).
    HypervisorWithSpinTable(PathBuf),
    /// The kernel itself at EL1: no hypervisor.
    Kernel,
}

/// A machine to be started. Fields are public: a scenario changes what it is about.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Interrupt controller.
    pub gic: Gic,
    /// Number of CPUs.
    pub cpus: u32,
    /// Whether it is Debian's newer QEMU that runs it, with a `max` that has more in it.
    pub newer_qemu: bool,
    /// CPU model, by QEMU's name.
    pub cpu: &'static str,
    /// Machine memory in MiB.
    pub memory_mib: u64,
    /// Who gets control first.
    pub entry: Entry,
    /// The image that takes the hypervisor's place.
    pub hypervisor: PathBuf,
    /// The hypervisor's command line.
    pub options: String,
    /// The first domain's kernel.
    pub kernel: Option<PathBuf>,
    /// Its initial ram disk.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub bootargs: String,
    /// Domains that the hypervisor starts beside the first.
    pub domains: Vec<BootDomain>,
    /// What the first domain shares with those.
    pub static_shared: StaticShared,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Further QEMU arguments.
    pub extra: Vec<String>,
}

impl Setup {
    /// Two Cortex-A57, a GICv3, 1 GiB, of which the first domain gets 512 MiB; nothing to boot yet.
    pub fn new(assets: &Assets) -> Self {
        Self {
            gic: Gic::V3,
            cpus: 2,
            newer_qemu: false,
            cpu: "cortex-a57",
            memory_mib: 1024,
            entry: Entry::Hypervisor,
            hypervisor: assets.hypervisor.clone(),
            options: format!("dom0_mem=512M {}", assets.options),
            kernel: None,
            initrd: None,
            bootargs: "console=hvc0".to_string(),
            domains: Vec::new(),
            static_shared: StaticShared::default(),
            disks: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// The same machine without a hypervisor: the kernel boots on the machine's own console.
    pub fn bare(mut self) -> Self {
        self.entry = Entry::Kernel;
        self.bootargs = self.bootargs.replace("hvc0", "ttyAMA0");
        self
    }

    /// The hypervisor's command line with another option at its end.
    pub fn option(mut self, option: &str) -> Self {
        self.options = format!("{} {option}", self.options);
        self
    }

    /// The kernel's command line with another argument at its end.
    pub fn bootarg(mut self, bootarg: &str) -> Self {
        self.bootargs = format!("{} {bootarg}", self.bootargs);
        self
    }

    /// The QEMU command that runs this machine, its console on standard input and output.
    ///
    /// `scratch` is a folder for what must be written to start it.
    pub fn command(&self, scratch: &Path) -> Result<Command> {
        let mut machine = self.machine()?;
        machine.scratch = scratch.to_path_buf();
        match &self.entry {
            Entry::Hypervisor | Entry::Kernel => {}
            Entry::HypervisorAtEl1 => add(&mut machine, &["-machine", "virtualization=off"]),
            Entry::HypervisorWithTree(tree) | Entry::HypervisorWithSpinTable(tree) => {
                let stub = scratch.join("enter-hypervisor.bin");
                let code = match self.entry {
                    Entry::HypervisorWithSpinTable(_) => {
                        spin_table::firmware(HYPERVISOR_AT, TREE_AT, STUB_AT, self.cpus)
                    }
                    _ => entry_stub(HYPERVISOR_AT, TREE_AT, &[]),
                };
                fs::write(&stub, code)?;
                for (file, at) in [(tree, TREE_AT), (&stub, STUB_AT)] {
                    let loader = format!("loader,file={},addr={at:#x},force-raw=on", file.display());
                    add(&mut machine, &["-device", &loader]);
                }
                add(&mut machine, &["-device", &format!("loader,addr={STUB_AT:#x},cpu-num=0")]);
            }
        }
        machine.command()
    }

    /// The machine as the launcher knows it.
    pub(crate) fn machine(&self) -> Result<Machine> {
        let boot = match self.entry {
            Entry::Kernel => Boot::Linux {
                kernel: self.kernel.clone().context("no kernel")?,
                initrd: self.initrd.clone().context("no initrd")?,
                bootargs: self.bootargs.clone(),
            },
            _ => Boot::Hypervisor {
                image: self.hypervisor.clone(),
                args: self.options.trim_end().to_string(),
                kernel: self.kernel.clone(),
                initrd: self.initrd.clone(),
                bootargs: self.bootargs.clone(),
                domains: self.domains.clone(),
                static_shared: self.static_shared.clone(),
            },
        };
        let mut machine = Machine::new(boot);
        machine.gic = self.gic;
        machine.cpus = self.cpus;
        machine.cpu = self.cpu.to_string();
        machine.memory_mib = self.memory_mib;
        machine.console = Console::Pipe;
        machine.disks.clone_from(&self.disks);
        machine.once = true;
        if self.newer_qemu {
            (machine.qemu, machine.extra) = newer()?;
        }
        machine.extra.extend(self.extra.iter().map(OsString::from));
        Ok(machine)
    }
}

fn add(machine: &mut Machine, arguments: &[&str]) {
    machine.extra.extend(arguments.iter().map(Into::into));
}

/// Machine code that stores words, and enters an image as Linux's boot protocol demands: x0 = device tree, x1 to x3 zero.
pub(crate) fn entry_stub(image: u64, tree: u64, stores: &[(u64, u32)]) -> Vec<u8> {
    const LDR_X4_LITERAL: u32 = 0x5800_0004;
    const LDR_X5_LITERAL: u32 = 0x5800_0005;
    const LDR_X0_LITERAL: u32 = 0x5800_0000;
    const STR_W5_X4: u32 = 0xb900_0085;
    const MOV_X1_0: u32 = 0xd280_0001;
    const MOV_X2_0: u32 = 0xd280_0002;
    const MOV_X3_0: u32 = 0xd280_0003;
    const BR_X4: u32 = 0xd61f_0080;
    let (mut code, mut literals) = (Vec::new(), Vec::new());
    // Literals follow the code, whose length rounds up to eight bytes.
    let instructions = (stores.len() as u32 * 3 + 6).next_multiple_of(2);
    let mut literal = |code: &mut Vec<u32>, load: u32, value: u64| {
        let distance = instructions + literals.len() as u32 * 2 - code.len() as u32;
        code.push(load | distance << 5);
        literals.push(value);
    };
    for &(address, value) in stores {
        literal(&mut code, LDR_X4_LITERAL, address);
        literal(&mut code, LDR_X5_LITERAL, value.into());
        code.push(STR_W5_X4);
    }
    literal(&mut code, LDR_X0_LITERAL, tree);
    code.extend([MOV_X1_0, MOV_X2_0, MOV_X3_0]);
    literal(&mut code, LDR_X4_LITERAL, image);
    code.push(BR_X4);
    code.resize(instructions as usize, BR_X4);
    let code = code.iter().flat_map(|word| word.to_le_bytes());
    code.chain(literals.iter().flat_map(|value| value.to_le_bytes())).collect()
}
