//! What a machine is made of: the board, what is loaded where, and with which command lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::assets::Assets;

/// Where the loader puts the first domain's kernel: clear of the hypervisor and of the device tree.
const KERNEL_AT: u64 = 0x4900_0000;
/// Where the loader puts its initial ram disk.
const INITRD_AT: u64 = 0x4f00_0000;
/// Where the hypervisor goes when it is not QEMU that boots it.
pub const HYPERVISOR_AT: u64 = 0x4020_0000;
/// Where the device tree goes when it is not QEMU that places it.
pub const TREE_AT: u64 = 0x4a00_0000;
/// Where the few instructions go that then enter the hypervisor.
pub const STUB_AT: u64 = 0x4ff0_0000;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2.
    V2,
    /// GICv3.
    V3,
}

/// How a disk hangs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-mmio.
    Mmio,
    /// virtio on PCIe.
    Pci,
}

/// Who gets control first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The hypervisor at EL2, by QEMU's Linux boot protocol; kernel and ram disk are its modules.
    Hypervisor,
    /// The hypervisor at EL1.
    HypervisorAtEl1,
    /// The hypervisor at EL2 with this file as its device tree, byte for byte.
    HypervisorWithTree(PathBuf),
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
    /// CPU model, by QEMU's name.
    pub cpu: &'static str,
    /// Machine memory in MiB.
    pub memory: u32,
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
    /// Disks: raw image files.
    pub disks: Vec<(Bus, PathBuf)>,
    /// The program that emulates the machine.
    pub qemu: PathBuf,
}

impl Setup {
    /// Two Cortex-A57, a GICv3, 1 GiB, of which the first domain gets 512 MiB and one vCPU per CPU; no kernel.
    pub fn new(assets: &Assets) -> Self {
        Self {
            gic: Gic::V3,
            cpus: 2,
            cpu: "cortex-a57",
            memory: 1024,
            entry: Entry::Hypervisor,
            hypervisor: assets.hypervisor.clone(),
            options: "dom0_mem=512M".to_string(),
            kernel: None,
            initrd: None,
            bootargs: "console=hvc0".to_string(),
            disks: Vec::new(),
            qemu: assets.qemu.clone(),
        }
    }

    /// The same machine without a hypervisor: `kernel` itself boots, on the machine's own console.
    pub fn bare(mut self) -> Self {
        self.entry = Entry::Kernel;
        self.bootargs = "console=ttyAMA0".to_string();
        self
    }

    /// Adds an option to the hypervisor's command line.
    pub fn option(mut self, option: &str) -> Self {
        self.options = format!("{} {option}", self.options);
        self
    }

    /// Adds to the kernel's command line.
    pub fn bootarg(mut self, bootarg: &str) -> Self {
        self.bootargs = format!("{} {bootarg}", self.bootargs);
        self
    }

    /// The QEMU command that runs this machine, its console on standard input and output.
    ///
    /// `scratch` is a folder for what must be written to start it.
    pub fn command(&self, scratch: &Path) -> Result<Command> {
        let mut qemu = self.board();
        qemu.args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]);
        match &self.entry {
            Entry::Kernel => {
                qemu.args(["-append", &self.bootargs]);
                if let Some(kernel) = &self.kernel {
                    qemu.arg("-kernel").arg(kernel);
                }
                if let Some(initrd) = &self.initrd {
                    qemu.arg("-initrd").arg(initrd);
                }
            }
            Entry::Hypervisor | Entry::HypervisorAtEl1 => {
                qemu.arg("-kernel").arg(&self.hypervisor).args(["-append", &self.options]);
                self.modules(&mut qemu);
            }
            Entry::HypervisorWithTree(tree) => {
                let stub = scratch.join("enter-hypervisor.bin");
                std::fs::write(&stub, entry_stub(HYPERVISOR_AT, TREE_AT))?;
                load(&mut qemu, &self.hypervisor, HYPERVISOR_AT);
                load(&mut qemu, tree, TREE_AT);
                load(&mut qemu, &stub, STUB_AT);
                qemu.arg("-device").arg(format!("loader,addr={STUB_AT:#x},cpu-num=0"));
                self.modules(&mut qemu);
            }
        }
        for (number, (bus, file)) in self.disks.iter().enumerate() {
            let device = match bus {
                Bus::Mmio => "virtio-blk-device",
                Bus::Pci => "virtio-blk-pci",
            };
            qemu.arg("-drive")
                .arg(format!("if=none,id=disk{number},file={},format=raw", file.display()))
                .arg("-device")
                .arg(format!("{device},drive=disk{number}"));
        }
        Ok(qemu)
    }

    /// The QEMU command that writes the device tree which this machine's hypervisor would get to `file`, and
    /// ends.
    pub fn dump_tree(&self, file: &Path) -> Command {
        let mut qemu = self.board();
        qemu.args(["-display", "none", "-machine"]).arg(format!("dumpdtb={}", file.display()));
        qemu.arg("-kernel").arg(&self.hypervisor).args(["-append", &self.options]);
        self.modules(&mut qemu);
        qemu
    }

    fn board(&self) -> Command {
        let mut qemu = Command::new(&self.qemu);
        let el2 = match self.entry {
            Entry::Hypervisor | Entry::HypervisorWithTree(_) => "on",
            Entry::HypervisorAtEl1 | Entry::Kernel => "off",
        };
        let gic = match self.gic {
            Gic::V2 => 2,
            Gic::V3 => 3,
        };
        qemu.args(["-nic", "none", "-nodefaults", "-machine"])
            .arg(format!("virt,virtualization={el2},gic-version={gic}"))
            .args(["-cpu", self.cpu, "-smp", &self.cpus.to_string(), "-m", &self.memory.to_string()]);
        qemu
    }

    /// Kernel and ram disk as `multiboot,module` nodes of the device tree.
    fn modules(&self, qemu: &mut Command) {
        if let Some(kernel) = &self.kernel {
            qemu.arg("-device").arg(format!(
                "guest-loader,addr={KERNEL_AT:#x},kernel={},bootargs={}",
                kernel.display(),
                self.bootargs.replace(',', ",,")
            ));
        }
        if let Some(initrd) = &self.initrd {
            qemu.arg("-device").arg(format!("guest-loader,addr={INITRD_AT:#x},initrd={}", initrd.display()));
        }
    }
}

fn load(qemu: &mut Command, file: &Path, at: u64) {
    qemu.arg("-device").arg(format!("loader,file={},addr={at:#x},force-raw=on", file.display()));
}

/// Machine code that enters an image as Linux's boot protocol demands: x0 = device tree, x1 to x3 zero.
fn entry_stub(image: u64, tree: u64) -> Vec<u8> {
    const LDR_X0_AT_24: u32 = 0x5800_00c0;
    const MOV_X1_0: u32 = 0xd280_0001;
    const MOV_X2_0: u32 = 0xd280_0002;
    const MOV_X3_0: u32 = 0xd280_0003;
    const LDR_X4_AT_32: u32 = 0x5800_0084;
    const BR_X4: u32 = 0xd61f_0080;
    let code = [LDR_X0_AT_24, MOV_X1_0, MOV_X2_0, MOV_X3_0, LDR_X4_AT_32, BR_X4];
    let mut bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(tree.to_le_bytes());
    bytes.extend(image.to_le_bytes());
    bytes
}
