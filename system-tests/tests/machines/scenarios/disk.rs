//! Disks that the first domain's own drivers serve by DMA.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use system_tests::setup::Setup;
use system_tests::shell::{PROGRAM, SCRIPT};
use testbed::disk_image::make_ext4;
use testbed::kernel::{self, Series};
use testbed::process::{capture, find};
use testbed::qemu::{Disk, DiskBus};

use system_tests::harness::{Lab, Scenario};

/// Size of the disks in MiB.
const DISK_MIB: u64 = 128;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("disk/root-on-mmio-6.1", |lab| root(lab, DiskBus::Mmio, Series::V6_1)),
        Scenario::new("disk/root-on-pci-6.1", |lab| root(lab, DiskBus::Pci, Series::V6_1)),
        Scenario::new("disk/root-on-pci-6.12", |lab| root(lab, DiskBus::Pci, Series::V6_12)),
        Scenario::new("disk/root-on-pci-behind-smmu", behind_smmu),
        Scenario::new("disk/two-of-each", two_of_each),
    ]
}

/// The init of the root disk.
const DISK_INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
export PATH=/bin HOME=/root
exec /bin/test-shell
";

/// An ext4 file system with a shell, our programs, and room.
fn root_disk(lab: &Lab) -> Result<PathBuf> {
    let (root, image) = (lab.folder.join("root"), lab.folder.join("root.img"));
    for folder in ["bin", "dev", "proc", "sys", "root", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let program = |path: &str, content: &[u8]| -> Result<()> {
        let file = root.join(path.trim_start_matches('/'));
        fs::write(&file, content)?;
        Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?)
    };
    program("init", DISK_INIT.as_bytes())?;
    program(PROGRAM, SCRIPT.as_bytes())?;
    program("bin/busybox", &fs::read(kernel::busybox()?)?)?;
    program("bin/guest-tests", &fs::read(&lab.assets.guest_tests)?)?;
    make_ext4(&image, DISK_MIB, Some(&root))?;
    Ok(image)
}

fn root(lab: &Lab, bus: DiskBus, series: Series) -> Result<()> {
    root_of(lab, bus, lab.linux(series)?)
}

/// The PCI host bridge of the board is behind an SMMU, for which the hypervisor has no driver. The disk is not: it has no
/// `iommu_platform`.
fn behind_smmu(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_12)?;
    setup.extra.extend(["-machine".to_owned(), "iommu=smmuv3".to_owned()]);
    root_of(lab, DiskBus::Pci, setup)?;
    let log = fs::read_to_string(system_tests::machine::log_file(&lab.folder))?;
    ensure!(log.contains("device tree node /smmuv3@9050000: it is an IOMMU"), "nothing is said of the SMMU");
    Ok(())
}

/// Linux lives on the disk: all that it reads and writes is DMA to its own memory.
fn root_of(lab: &Lab, bus: DiskBus, setup: Setup) -> Result<()> {
    let image = root_disk(lab)?;
    let mut setup = setup.bootarg("rdinit=/bin/to-disk");
    setup.disks.push(Disk::raw(image.clone(), bus));
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("grep ' / ' /proc/mounts")?.contains("/dev/vda / ext4"), "the root is not the disk");
    // Linux tells the hypervisor of each PCI device, and complains when it does not hear.
    let complaints = shell.run("dmesg | grep 'Failed to add'")?;
    ensure!(complaints.output.is_empty(), "{}", complaints.output);
    let outcome = shell.run("guest-tests disk /root")?;
    ensure!(outcome.status == 0, "{}", outcome.output);
    shell.check("rm -r /root && sync && mount -o remount,ro /")?;
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    let mut check = Command::new(find("e2fsck").unwrap_or_else(|| "e2fsck".into()));
    capture(check.args(["-f", "-n"]).arg(&image))?;
    fs::remove_file(image)?;
    Ok(())
}

fn two_of_each(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    for (number, bus) in [DiskBus::Mmio, DiskBus::Mmio, DiskBus::Pci, DiskBus::Pci].into_iter().enumerate() {
        let file = lab.folder.join(format!("disk{number}.img"));
        make_ext4(&file, DISK_MIB, None)?;
        setup.disks.push(Disk::raw(file, bus));
    }
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    for disk in ["vda", "vdb", "vdc", "vdd"] {
        shell.check(&format!("mkdir /mnt/{disk} && mount -t ext4 /dev/{disk} /mnt/{disk}"))?;
        // All four at once.
        shell.check(&format!("guest-tests disk /mnt/{disk} >/tmp/{disk} 2>&1 & true"))?;
    }
    shell.check("wait")?;
    for disk in ["vda", "vdb", "vdc", "vdd"] {
        let output = shell.check(&format!("cat /tmp/{disk}"))?;
        ensure!(output.ends_with(" 0 failed"), "{disk}: {output}");
    }
    Ok(())
}
