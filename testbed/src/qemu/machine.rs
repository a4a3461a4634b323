//! A description of one boot, and the QEMU command line that it stands for.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dtoolkit::model::DeviceTree;

use super::boot::Boot;
use super::disk::Disk;
use super::layout::Layout;
use super::{domains, tree};
use crate::paths;

/// QEMU's program for arm64 machines.
pub const PROGRAM: &str = "qemu-system-aarch64";
/// The most CPUs that a GICv2 can serve.
const GIC_V2_CPUS: u32 = 8;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gic {
    /// GICv2 with its virtualisation extension.
    V2,
    /// GICv3.
    V3,
}

impl fmt::Display for Gic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gic::V2 => "2",
            Gic::V3 => "3",
        })
    }
}

/// Where the machine's serial port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// The caller's terminal, with QEMU's keys on Ctrl-a.
    Terminal,
    /// Standard output and input as they are, with no keys of QEMU's own.
    Pipe,
    /// A file that is written only.
    File(PathBuf),
    /// A Unix socket that QEMU opens; the machine starts without waiting for a caller.
    Socket(PathBuf),
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it starts.
    pub boot: Boot,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// Its interrupt controller.
    pub gic: Gic,
    /// Number of CPUs.
    pub cpus: u32,
    /// QEMU's name of the CPU, such as `cortex-a57` or `max`.
    pub cpu: String,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Where the serial port leads.
    pub console: Console,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// A reset ends QEMU instead of starting the machine again.
    pub once: bool,
    /// Count instructions: each takes 2^n ns of the machine's time, idle time is skipped, and a run repeats exactly.
    pub icount_shift: Option<u8>,
    /// Wait for a debugger on this TCP port before the first instruction.
    pub gdb_port: Option<u16>,
    /// A Unix socket for QEMU's machine protocol (QMP).
    pub qmp: Option<PathBuf>,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
    /// The folder for what a boot of several domains must write: device trees. No two machines may share it.
    pub scratch: PathBuf,
}

impl Machine {
    /// A machine with GICv3, two Cortex-A57, 2 GiB of RAM, and the terminal as its console.
    pub fn new(boot: Boot) -> Self {
        Machine {
            boot,
            qemu: PROGRAM.into(),
            gic: Gic::V3,
            cpus: 2,
            cpu: "cortex-a57".to_owned(),
            memory_mib: 2048,
            console: Console::Terminal,
            disks: Vec::new(),
            once: false,
            icount_shift: None,
            gdb_port: None,
            qmp: None,
            extra: Vec::new(),
            scratch: paths::cache().join("machine"),
        }
    }

    /// The command that starts it.
    ///
    /// # Errors
    /// The description contradicts itself, a file cannot be read, or the memory is too small. For a boot of several
    /// domains: QEMU does not tell its device tree.
    pub fn command(&self) -> Result<Command> {
        if self.gic == Gic::V2 && self.cpus > GIC_V2_CPUS {
            bail!("a GICv2 serves at most {GIC_V2_CPUS} CPUs, not {}: choose GICv3", self.cpus);
        }
        let mut command = self.board();
        self.add_console(&mut command);
        self.add_boot(&mut command)?;
        for (number, disk) in self.disks.iter().enumerate() {
            disk.add_to(&mut command, number)?;
        }
        if self.once {
            command.arg("-no-reboot");
        }
        if let Some(shift) = self.icount_shift {
            command.arg("-icount").arg(format!("shift={shift},sleep=off"));
            command.args(["-rtc", "base=2024-01-01,clock=vm", "-seed", "1"]);
        }
        if let Some(port) = self.gdb_port {
            command.arg("-S").arg("-gdb").arg(format!("tcp:127.0.0.1:{port}"));
        }
        if let Some(socket) = &self.qmp {
            command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", escaped(socket)?));
        }
        command.args(&self.extra);
        Ok(command)
    }

    /// The device tree that what it starts would find. It goes through the file `scratch`.
    pub fn tree(&self, scratch: &Path) -> Result<DeviceTree> {
        tree::read(self.command()?, scratch)
    }

    /// The board alone, with nothing to start.
    fn board(&self) -> Command {
        let mut command = Command::new(&self.qemu);
        command.args(["-nodefaults", "-nic", "none", "-display", "none"]);
        command.arg("-machine").arg(self.machine_type()).arg("-cpu").arg(self.cpu_model());
        command.arg("-smp").arg(self.cpus.to_string()).arg("-m").arg(format!("{}M", self.memory_mib));
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        command
    }

    fn machine_type(&self) -> String {
        let virtualization = match self.boot {
            Boot::Hypervisor { .. } => "on",
            Boot::Linux { .. } => "off",
        };
        // Random words in the device tree would decide what the guest does.
        let randomness = if self.icount_shift.is_some() { ",dtb-randomness=off" } else { "" };
        format!("virt,gic-version={},virtualization={virtualization}{randomness}", self.gic)
    }

    /// `max` authenticates pointers with an algorithm that is slow to emulate; QEMU has a quick one in its place.
    fn cpu_model(&self) -> String {
        if self.cpu == "max" { "max,pauth-impdef=on".to_owned() } else { self.cpu.clone() }
    }

    fn add_console(&self, command: &mut Command) {
        let serial = match &self.console {
            Console::Terminal => OsString::from("mon:stdio"),
            Console::Pipe => OsString::from("stdio"),
            Console::File(path) => prefixed("file:", path, ""),
            Console::Socket(path) => prefixed("unix:", path, ",server=on,wait=off"),
        };
        command.arg("-serial").arg(serial);
    }

    fn add_boot(&self, command: &mut Command) -> Result<()> {
        match &self.boot {
            Boot::Linux { kernel, initrd, bootargs } => {
                command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).arg("-append").arg(bootargs);
            }
            Boot::Hypervisor { image, args, kernel, initrd, bootargs, domains, static_shared } => {
                command.arg("-kernel").arg(image).arg("-append").arg(args);
                if domains.is_empty() && static_shared.is_empty() {
                    return self.add_first(command, kernel.as_deref(), initrd.as_deref(), bootargs);
                }
                let mut bare = self.board();
                bare.arg("-kernel").arg(image).arg("-append").arg(args).args(&self.extra);
                fs::create_dir_all(&self.scratch)?;
                let host = tree::read(bare, &self.scratch.join("board.dtb"))?;
                let first = (kernel.as_deref(), initrd.as_deref(), bootargs.as_str());
                domains::add_to(
                    command,
                    host,
                    self.memory_mib,
                    first,
                    (domains, static_shared),
                    &self.scratch,
                )?;
            }
        }
        Ok(())
    }

    /// Adds the modules of a boot whose only domain is the first: QEMU describes them itself.
    fn add_first(
        &self,
        command: &mut Command,
        kernel: Option<&Path>,
        initrd: Option<&Path>,
        bootargs: &str,
    ) -> Result<()> {
        let modules: Vec<(&str, &Path, &str)> = kernel
            .into_iter()
            .map(|path| ("kernel", path, bootargs))
            .chain(initrd.map(|path| ("initrd", path, "")))
            .collect();
        let sizes = modules.iter().map(|(_, path, _)| size_of(path)).collect::<Result<Vec<u64>>>()?;
        let layout = Layout::place(self.memory_mib, &sizes)?;
        for ((kind, path, bootargs), address) in modules.into_iter().zip(layout.addresses) {
            let mut device = format!("guest-loader,addr={address:#x},{kind}={}", escaped(path)?);
            if !bootargs.is_empty() {
                device.push_str(&format!(",bootargs={}", bootargs.replace(',', ",,")));
            }
            command.arg("-device").arg(device);
        }
        Ok(())
    }
}

/// The size of a file in bytes.
pub(super) fn size_of(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}

/// A path as a value among QEMU's comma-separated options.
pub(super) fn escaped(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

fn prefixed(prefix: &str, path: &Path, suffix: &str) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text.push(suffix);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::line_of;
    use crate::qemu::StaticShared;

    fn hypervisor(dir: &Path) -> Machine {
        let file = |name: &str| {
            let path = dir.join(name);
            fs::write(&path, vec![0; 3 << 20]).unwrap();
            path
        };
        Machine::new(Boot::Hypervisor {
            image: file("image"),
            args: "dom0_mem=512M".into(),
            kernel: Some(file("kernel,1")),
            initrd: Some(file("initrd")),
            bootargs: "console=hvc0 isolcpus=1,2".into(),
            domains: Vec::new(),
            static_shared: StaticShared::default(),
        })
    }

    #[test]
    fn modules_have_addresses_and_escaped_values() {
        let dir = tempfile::tempdir().unwrap();
        let line = line_of(&hypervisor(dir.path()).command().unwrap());
        assert!(line.contains("virt,gic-version=3,virtualization=on"), "{line}");
        assert!(line.contains("kernel,,1,bootargs=console=hvc0 isolcpus=1,,2"), "{line}");
        assert!(line.contains("guest-loader,addr=0x49400000,initrd="), "{line}");
    }

    #[test]
    fn counted_machines_hold_nothing_random() {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = hypervisor(dir.path());
        assert!(!line_of(&machine.command().unwrap()).contains("icount"));
        machine.icount_shift = Some(4);
        let line = line_of(&machine.command().unwrap());
        for part in ["-icount shift=4,sleep=off", "clock=vm", "-seed 1", "dtb-randomness=off"] {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = hypervisor(dir.path());
        machine.gic = Gic::V2;
        machine.cpus = 9;
        assert!(machine.command().unwrap_err().to_string().contains("GICv2"));
        machine.cpus = 8;
        machine.memory_mib = 32;
        assert!(machine.command().unwrap_err().to_string().contains("--memory"));
    }

    #[test]
    fn a_missing_kernel_file_is_named() {
        let boot = Boot::Hypervisor {
            image: "/image".into(),
            args: String::new(),
            kernel: Some("/no/such/kernel".into()),
            initrd: None,
            bootargs: String::new(),
            domains: Vec::new(),
            static_shared: StaticShared::default(),
        };
        assert!(Machine::new(boot).command().unwrap_err().to_string().contains("/no/such/kernel"));
    }
}
