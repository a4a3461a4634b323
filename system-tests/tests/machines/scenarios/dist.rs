//! `cargo xtask dist`: its packages, installed by `dpkg` into a Debian with systemd that is the control domain.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use system_tests::harness::{Lab, Scenario};
use system_tests::shell::{self, Shell};
use testbed::disk_image::make_ext4;
use testbed::host::{Need, ensure as ensure_host};
use testbed::kernel::{self, Kernel};
use testbed::modules::ModuleTree;
use testbed::process::capture;
use testbed::qemu::{Disk, DiskBus, DiskFormat};
use testbed::toolchain::cargo;
use testbed::{paths, roles, systemd};

/// Modules that the units load.
const MODULES: [&str; 2] = ["xen-privcmd", "xen-evtchn"];
/// Size in MiB of the disk with packages, modules and a guest's files.
const GIVEN_MIB: u64 = 128;

/// A guest that starts with the machine.
const GUEST: &str = "\
kernel = \"/mnt/kernel\"
cmdline = \"console=hvc0\"
memory = \"128M\"
autostart = true
";

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![Scenario::new("dist/packages-in-debian", packages_in_debian)]
}

/// The packages install, their units run, and again after a death; guests start and end by the unit; and what is removed is gone.
fn packages_in_debian(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    capture(cargo("xtask").arg("dist"))?;
    let kernel = Kernel::fetch(systemd::SERIES)?;
    let [root, given, folder] = ["root.qcow2", "given.img", "given"].map(|name| lab.folder.join(name));
    let base = systemd::root(shell::SCRIPT)?;
    let mut overlay = Command::new("qemu-img");
    capture(overlay.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).args([&base, &root]))?;
    give(&folder, &kernel)?;
    make_ext4(&given, GIVEN_MIB, Some(&folder))?;
    fs::remove_dir_all(&folder)?;

    let mut setup = lab.linux(systemd::SERIES)?;
    let initrd = lab.folder.join("to-root.cpio");
    fs::write(&initrd, roles::guest(&kernel::busybox()?, Some(&kernel.modules()))?.to_cpio()?)?;
    setup.initrd = Some(initrd);
    setup.bootargs = "console=hvc0 quiet root=/dev/vda".to_owned();
    setup.memory_mib = 2048;
    setup.disks = vec![
        Disk { format: DiskFormat::Qcow2, ..Disk::raw(root, DiskBus::MmioSlot(0)) },
        Disk::raw(given, DiskBus::MmioSlot(1)),
    ];
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    shell.check("mount /dev/vdb /mnt")?;
    shell.check("mkdir -p /lib/modules/$(uname -r)")?;
    shell.check("cp /mnt/modules/* /lib/modules/$(uname -r)/ && depmod")?;

    // What Debian's packages brought here is not in the list of the installed ones.
    shell.check("dpkg --force-depends -i /mnt/*.deb >/run/dpkg 2>&1 || { cat /run/dpkg; false; }")?;
    for unit in ["lithd", "lith-guests"] {
        is(&mut shell, unit, "is-active", "active")?;
        is(&mut shell, unit, "is-enabled", "enabled")?;
    }
    shell.check("ls -d /sys/module/xen_privcmd && modprobe --showconfig | grep 'privcmd unrestricted=1'")?;
    shell.check("sleep 2")?;
    let restarts = shell.check("systemctl show -P NRestarts lithd")?;
    ensure!(restarts == "0", "lithd does not stay: it was started again {restarts} times");
    ensure!(shell.check("ls /boot")? == "xenolith.img", "the image");
    ensure!(shell.check("lith list")?.contains("control"), "lith does not work");
    shell.check("systemctl kill -s KILL lithd && sleep 3")?;
    is(&mut shell, "lithd", "is-active", "active")?;

    shell.check("cp /mnt/one.toml /etc/lith/guests/ && systemctl restart lith-guests")?;
    ensure!(guests(&mut shell)?.contains("one"), "the guest did not start");
    shell.check("systemctl stop lith-guests; sleep 1")?;
    ensure!(!guests(&mut shell)?.contains("one"), "the guest did not end");

    shell.check("dpkg --force-depends -r lithd >/run/dpkg 2>&1 || { cat /run/dpkg; false; }")?;
    is(&mut shell, "lithd", "is-active", "inactive")?;
    ensure!(shell.run("ls /usr/sbin/lithd")?.status != 0, "lithd is still there");
    shell.last("systemctl poweroff")?;
    machine.wait_for_end().map(drop)
}

/// Lays out the disk: packages, modules, and a guest.
fn give(folder: &Path, kernel: &Kernel) -> Result<()> {
    fs::create_dir_all(folder.join("modules"))?;
    let dist = paths::target().join("dist");
    let mut packages = 0;
    for entry in fs::read_dir(&dist)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::copy(&path, folder.join(path.file_name().context("a package's name")?))?;
            packages += 1;
        }
    }
    ensure!(packages == 3, "{packages} packages in {}", dist.display());
    for module in ModuleTree::open(&kernel.modules())?.load_order(&MODULES)? {
        fs::write(folder.join(format!("modules/{}.ko", module.name)), module.data)?;
    }
    fs::copy(kernel.image(), folder.join("kernel"))?;
    Ok(fs::write(folder.join("one.toml"), GUEST)?)
}

fn is(shell: &mut Shell<'_>, unit: &str, what: &str, wanted: &str) -> Result<()> {
    let said = shell.run(&format!("systemctl {what} {unit}"))?.output;
    if said != wanted {
        let about = shell.run(&format!("systemctl status --no-pager -l {unit}"))?.output;
        anyhow::bail!("{unit} {what}: {said}\n{about}");
    }
    Ok(())
}

fn guests(shell: &mut Shell<'_>) -> Result<String> {
    shell.check("lith list")
}
