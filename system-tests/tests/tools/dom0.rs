//! The control domain: Debian's root file system with the tools, and a disk of ours with what is played in it.
//!
//! Nothing of what is compared goes through the console, where the hypervisor's own lines may cut it: the answers come
//! back on a disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use system_tests::assets::Assets;
use system_tests::harness::Lab;
use system_tests::setup::Setup;
use system_tests::transcript::{Answer, Step};
use testbed::disk_image::make_ext4;
use testbed::host::{self, Need};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel};
use testbed::modules::ModuleTree;
use testbed::process::capture;
use testbed::qemu::{BootDomain, Disk, DiskBus, DiskFormat};
use testbed::tools::Version;

/// The kernel modules of the control domain.
const MODULES: [&str; 10] = [
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
    "loop",
    "xen-blkback",
    "xen-netback",
    "bridge",
    "tun",
];
/// The modules of a guest's front ends.
const FRONT_ENDS: [&str; 2] = ["xen-blkfront", "xen-netfront"];

/// Our files for the control domain: name on the disk, content.
const FILES: [(&str, &[u8]); 7] = [
    ("init", include_bytes!("dom0/init")),
    ("play", include_bytes!("dom0/play")),
    ("bin/guest", include_bytes!("dom0/guest")),
    ("bin/in-guest", include_bytes!("dom0/in-guest")),
    ("bin/terminal", include_bytes!("dom0/terminal")),
    ("bin/await", include_bytes!("dom0/await")),
    ("bin/by-disk", include_bytes!("dom0/by-disk")),
];

/// What the control domain says when it begins a step.
pub const STEP: &str = "\n$ ";
/// What it says when all steps were played.
pub const DONE: &str = "dom0: all was played";

/// A guest's ramdisk, in the test's folder.
const GUEST_RAMDISK: &str = "guest.cpio";

/// Size of the disk for the answers.
const ANSWERS_BYTES: u64 = 4 << 20;
/// Room on our disk beside the files.
const SPARE_MIB: u64 = 24;

/// Describes a machine whose control domain plays the steps, and returns it with the disk where the answers come to.
pub fn setup(lab: &Lab, version: Version, steps: &[Step]) -> Result<(Setup, PathBuf)> {
    host::ensure(&[Need::QEMU_IMG])?;
    let kernel = Kernel::fetch(version.series())?;
    let (root, given, answers) =
        (lab.folder.join("root.qcow2"), lab.folder.join("given.img"), lab.folder.join("answers"));
    let base = version.root()?;
    capture(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&base, &root]),
    )?;
    let folder = lab.folder.join("given");
    give(&folder, &kernel, lab, steps)?;
    fs::copy(folder.join("guest/ramdisk"), lab.folder.join(GUEST_RAMDISK))?;
    make_ext4(&given, size_mib(&folder)? + SPARE_MIB, Some(&folder))?;
    fs::remove_dir_all(&folder)?;
    fs::File::create(&answers)?.set_len(ANSWERS_BYTES)?;

    let initrd = lab.folder.join("dom0.cpio");
    let busybox = kernel::busybox()?;
    let ramdisk = Initramfs::to_disk(&busybox, Some(&kernel.modules()), include_bytes!("dom0/to-root"))?;
    fs::write(&initrd, ramdisk.to_cpio()?)?;
    let mut setup = Setup::new(&lab.assets);
    setup.kernel = Some(kernel.image());
    setup.initrd = Some(initrd);
    setup.bootargs = "console=hvc0 quiet".to_owned();
    setup.memory_mib = 4096;
    setup.disks = vec![
        Disk { format: DiskFormat::Qcow2, ..Disk::raw(root, DiskBus::MmioSlot(0)) },
        Disk::raw(given, DiskBus::MmioSlot(1)),
        Disk::raw(answers.clone(), DiskBus::MmioSlot(2)),
    ];
    Ok((setup, answers))
}

/// Adds two domains that start with the machine, with the guests' kernel and ramdisk, and one and two vCPUs. They are told
/// about xenstore, and find none until somebody connects them. They have no console that the tools know, and run scripts
/// that they get on a disk.
pub fn add_boot_domains(setup: &mut Setup) {
    for (name, vcpus) in [("one", 1), ("two", 2)] {
        setup.domains.push(BootDomain {
            name: name.to_owned(),
            kernel: setup.kernel.clone().unwrap_or_default(),
            ramdisk: setup.initrd.as_ref().map(|file| file.with_file_name(GUEST_RAMDISK)),
            bootargs: "console=ttyAMA0 quiet script=/dev/xvda".to_owned(),
            memory_mib: 128,
            vcpus,
            vpl011: true,
            xenstore: true,
            ..BootDomain::default()
        });
    }
}

/// Lays out our disk: the steps, modules, and what a guest boots from.
fn give(folder: &Path, kernel: &Kernel, lab: &Lab, steps: &[Step]) -> Result<()> {
    for part in ["bin", "guest", "modules", "steps"] {
        fs::create_dir_all(folder.join(part))?;
    }
    for (name, content) in FILES {
        let file = folder.join(name);
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    for (number, step) in steps.iter().enumerate() {
        fs::write(folder.join(format!("steps/{number}")), format!("{}\n", step.command))?;
    }
    let mut order = String::new();
    for module in ModuleTree::open(&kernel.modules())?.load_order(&MODULES)? {
        fs::write(folder.join(format!("modules/{}.ko", module.name)), module.data)?;
        order.push_str(&format!("{}\n", module.name));
    }
    fs::write(folder.join("modules/order"), order)?;
    let busybox = kernel::busybox()?;
    fs::copy(&busybox, folder.join("bin/busybox"))?;
    fs::copy(&lab.assets.guest_tests, folder.join("bin/guest-tests"))?;
    fs::copy(&lab.assets.lithd, folder.join("bin/lithd"))?;
    fs::copy(&lab.assets.lith, folder.join("bin/lith"))?;
    fs::copy(kernel.image(), folder.join("guest/kernel"))?;
    Ok(fs::write(folder.join("guest/ramdisk"), guest(kernel, &busybox, &lab.assets)?.to_cpio()?)?)
}

/// A guest's initial file system: a shell on its console, without a prompt.
fn guest(kernel: &Kernel, busybox: &Path, assets: &Assets) -> Result<Initramfs> {
    let mut files = Initramfs::base(busybox, Some(&kernel.modules()))?;
    let front_ends = ModuleTree::open(&kernel.modules())?.load_order(&FRONT_ENDS)?;
    files.modules("front-ends", front_ends);
    files.file("etc/inittab", 0o644, include_bytes!("dom0/guest-inittab").to_vec());
    files.folder("sbin");
    for program in ["poweroff", "reboot"] {
        files.link(&format!("sbin/{program}"), "../bin/busybox");
    }
    files.file("bin/console-shell", 0o755, include_bytes!("dom0/guest-shell").to_vec());
    files.file("bin/disk-script", 0o755, include_bytes!("dom0/guest-disk-script").to_vec());
    files.file("bin/guest-tests", 0o755, fs::read(&assets.guest_tests)?);
    files.file("bin/lithd", 0o755, fs::read(&assets.lithd)?);
    Ok(files)
}

/// What the control domain has written: for each step a line with its number, its status and the length of its output,
/// then that output.
pub fn read_answers(file: &Path) -> Result<Vec<Answer>> {
    let all = fs::read(file)?;
    let mut rest = all.as_slice();
    let mut answers = Vec::new();
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n').context("the answers end without an end")?;
        let head = std::str::from_utf8(&rest[..end])?;
        if head == "end" {
            return Ok(answers);
        }
        let numbers: Vec<usize> = head.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [number, status, length] = numbers[..] else { anyhow::bail!("an answer begins with {head:?}") };
        ensure!(number == answers.len(), "answer {number} has the place of {}", answers.len());
        let output = rest.get(end + 1..end + 1 + length).context("an answer was cut short")?;
        answers.push(Answer {
            output: String::from_utf8_lossy(output).into_owned(),
            status: i32::try_from(status)?,
        });
        rest = &rest[end + 1 + length..];
    }
}

fn size_mib(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes >> 20)
}
