//! `cargo xtask run`, as its user types it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use system_tests::machine::log_file;
use system_tests::shell::Shell;
use testbed::disk_image;
use testbed::host::{Need, ensure as ensure_host};
use testbed::kernel::Series;
use testbed::process::{capture, find};
use testbed::programs::Extra;
use testbed::toolchain::cargo;

use super::guest::own_kernel::{Installed, UUID, grub, install};
use crate::rig::{DISK_MIB, check_and_remove, extract, tool as rig_tool};
use system_tests::harness::{Lab, Scenario};
use system_tests::turns::Running;

/// CPUs of its machine, if nothing else is said.
const CPUS: u32 = 2;
/// The prompts of both shells.
const CONTROL: &str = "control# ";
const GUEST: &str = "guest# ";
/// The key that leaves the guest's console.
const LEAVE: &str = "\x1d";
/// What the guest writes last.
const UNSYNCED: &str = "written before the end";
/// Where the partition begins, in bytes.
const PARTITION: u64 = 1 << 20;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("run/disk-of-ones-own", disk_of_ones_own),
        Scenario::new("run/guest-of-ones-own", guest_of_ones_own),
        Scenario::new("run/kernel-of-ones-own", kernel_of_ones_own),
    ]
}

/// `--disk` with a partitioned qcow2 image that has a kernel: the guest boots that one as its boot loader would, and has its
/// modules, while the other domains have another.
fn kernel_of_ones_own(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    let [root, raw, image] = ["root.img", "raw.img", "own.qcow2"].map(|name| lab.folder.join(name));
    let Installed { release, mut files } = install(Series::V6_1)?;
    let tests = fs::read(&lab.assets.guest_tests)?;
    files.push(Extra { path: "bin/guest-tests".into(), permissions: 0o755, data: tests });
    let menu = grub(&release, "6.99-not-there").into_bytes();
    files.push(Extra { path: "boot/grub/grub.cfg".into(), permissions: 0o644, data: menu });
    disk_image::make(&root, DISK_MIB, &files)?;
    rig_tool("tune2fs", &format!("-U {UUID}"), &root)?;
    put_on_partition(&root, &raw)?;
    tool(&["convert", "-f", "raw", "-O", "qcow2"], &[&raw, &image])?;
    let mut command = cargo("xtask");
    command.args(["run", "--disk"]).arg(&image);
    let mut machine = lab.start_command(command, CPUS)?;
    log_in(&mut machine, "write")?;
    let mut shell = Shell::that_listens(&mut machine.console);
    let found = shell.check("uname -r")?;
    ensure!(found == release, "it runs {found} and not {release}");
    shell.check("modprobe dummy && grep -q '^dummy ' /proc/modules")?;
    power_off(&mut machine)?;
    let others = control(&mut machine)?.check("uname -r")?;
    ensure!(others.starts_with("6.12."), "the control domain runs {others}");
    control_ends(&mut machine)?;
    for file in [raw, image, root] {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// Turns the machine off in the control domain's shell, whose prompt comes next.
fn control_ends(machine: &mut Running) -> Result<()> {
    machine.console.send("poweroff\n")?;
    machine.wait_for_end().map(drop)
}

/// A guest's file as a user writes it, which does not say that the guest starts with the machine.
const OWN_GUEST: &str = r#"
kernel = "/guest/kernel"
ramdisk = "ramdisk"
cmdline = "console=hvc0 quiet"
memory = "192M"

[[disk]]
image = "/dev/vda"
backend = 1

[[disk]]
image = "/dev/vdb"
backend = 1
read_only = true
"#;

/// `--guest`, `--file` and two times `--disk`: the guest starts, its disks are the images in their order, and the control
/// domain has the file. Linux there does not complain about its PCI devices.
fn guest_of_ones_own(lab: &Lab) -> Result<()> {
    let [root, second, guest, note] =
        ["root.img", "second.img", "own.toml", "note"].map(|name| lab.folder.join(name));
    disk_image::make(&root, DISK_MIB, &[])?;
    let mut content = b"the second disk\n".to_vec();
    content.resize(3 << 20, 0);
    fs::write(&second, content)?;
    fs::write(&guest, OWN_GUEST)?;
    fs::write(&note, "brought along\n")?;
    let mut command = cargo("xtask");
    command.args(["run", "--disk"]).arg(&root).arg("--disk").arg(&second).arg("--guest").arg(&guest);
    command.arg("--file").arg(format!("{}:/srv/notes/one", note.display())).arg("--file").arg(&note);
    let mut machine = lab.start_command(command, CPUS)?;
    machine.expect("lith create /guest/own.toml")?;
    machine.expect("guest login: ")?;
    machine.console.send("root\n")?;
    machine.expect(GUEST)?;
    let mut shell = Shell::that_listens(&mut machine.console);
    ensure!(shell.check("grep ' / ' /proc/mounts")?.contains("/dev/vda / ext4"), "its root is another disk");
    ensure!(shell.check("head -n 1 /dev/vdb")? == "the second disk", "what is on the second disk");
    ensure!(shell.check("cat /sys/block/vdb/size")? == "6144", "the size of the second disk");
    ensure!(shell.check("cat /sys/block/vdb/ro")? == "1", "the second disk can be written");
    machine.console.send(LEAVE)?;
    machine.expect("Left the console of own; it runs on.")?;
    let mut shell = control(&mut machine)?;
    ensure!(shell.check("cat /srv/notes/one /guest/note")? == "brought along\nbrought along", "the file");
    shell.last("poweroff")?;
    machine.expect("Guest own is off.")?;
    machine.wait_for_end()?;
    let said = fs::read_to_string(log_file(&lab.folder))?;
    ensure!(!said.contains("Failed to add"), "Linux complains about a PCI device");
    fs::remove_file(second)?;
    check_and_remove(&root)
}

/// `--disk` with a partitioned qcow2 image without a kernel: the guest's root is found on its partition, or is the one that
/// `root=` names, and what the guest writes is in the image. Its user logs in as root, goes to the control domain and back, and
/// turns the machine off there while the guest runs, which loses nothing by that.
fn disk_of_ones_own(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    let [root, raw, image] = ["root.img", "raw.img", "own.qcow2"].map(|name| lab.folder.join(name));
    // The system is that of the guest's usual disk.
    let tests = fs::read(&lab.assets.guest_tests)?;
    let tests = Extra { path: "bin/guest-tests".into(), permissions: 0o755, data: tests };
    disk_image::make(&root, DISK_MIB, &[tests])?;
    put_on_partition(&root, &raw)?;
    tool(&["convert", "-f", "raw", "-O", "qcow2"], &[&raw, &image])?;
    let mut command = cargo("xtask");
    command.args(["run", "--disk"]).arg(&image);
    let mut machine = lab.start_command(command, CPUS)?;
    log_in(&mut machine, "write")?;
    there_and_back(&mut machine)?;
    power_off(&mut machine)?;
    let mut shell = control(&mut machine)?;
    shell.check("sed -i 's:quiet:quiet root=PARTUUID=00000000-01:' /guest/guest.toml")?;
    shell.check("lith create /guest/guest.toml")?;
    shell.last("lith console guest")?;
    log_in(&mut machine, "check")?;
    end_in_order(&mut machine)?;

    tool(&["check", "-f", "qcow2"], &[&image])?;
    tool(&["convert", "-f", "qcow2", "-O", "raw"], &[&image, &raw])?;
    take_from_partition(&raw, &root)?;
    ended_in_order(&root, &lab.folder.join("unsynced"))?;
    fs::remove_file(raw)?;
    fs::remove_file(image)?;
    check_and_remove(&root)
}

/// The control domain's shell, whose prompt comes next. Commands stand behind prompts, and are echoed.
fn control(machine: &mut Running) -> Result<Shell<'_>> {
    machine.expect(CONTROL)?;
    Ok(Shell::that_listens(&mut machine.console))
}

/// Logs in as root at the guest's console. The guest's root is the partition, where files are written or checked.
fn log_in(machine: &mut Running, test: &str) -> Result<()> {
    machine.expect("guest login: ")?;
    machine.console.send("root\n")?;
    machine.expect(GUEST)?;
    let mut shell = Shell::that_listens(&mut machine.console);
    ensure!(shell.check("grep ' / ' /proc/mounts")?.contains("/dev/vda1 / ext4"), "its root is no partition");
    ensure!(shell.check("id -u; pwd")? == "0\n/root", "who it is that logged in");
    let tested = shell.run(&format!("guest-tests {test} /root"))?;
    ensure!(tested.status == 0, "guest-tests {test} ended with {}:\n{}", tested.status, tested.output);
    Ok(())
}

/// One key leads to the control domain, which shows three domains; a command leads back to the guest's shell.
fn there_and_back(machine: &mut Running) -> Result<()> {
    machine.console.send(LEAVE)?;
    machine.expect("Left the console of guest; it runs on.")?;
    let mut shell = control(machine)?;
    let list = shell.check("lith list")?;
    let names: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(names == ["control", "domain-1", "guest"], "lith list shows {list}");
    shell.last("lith console guest")?;
    machine.expect("Leave it with Ctrl-].")?;
    let files = Shell::that_listens(&mut machine.console).check("ls /root | wc -l")?;
    ensure!(files.parse().is_ok_and(|files: u32| files > 0), "{files} files are there");
    Ok(())
}

/// Turns the guest off, and waits for its end.
fn power_off(machine: &mut Running) -> Result<()> {
    machine.console.send("poweroff\n")?;
    machine.expect("Guest guest has ended.").map(drop)
}

/// Ends the machine while the guest runs, which has just written a file and has synced nothing.
fn end_in_order(machine: &mut Running) -> Result<()> {
    Shell::that_listens(&mut machine.console).check(&format!("echo {UNSYNCED} >/root/unsynced"))?;
    machine.console.send(LEAVE)?;
    machine.expect(CONTROL)?;
    machine.console.send("poweroff\n")?;
    machine.expect("Guest guest is asked to turn itself off.")?;
    machine.expect("Guest guest is off.")?;
    machine.wait_for_end().map(drop)
}

/// The file is on the disk, whose file system was unmounted: its journal has nothing that is left to be done.
fn ended_in_order(root: &Path, file: &Path) -> Result<()> {
    extract(root, "/root/unsynced", file)?;
    let text = fs::read_to_string(file)?;
    ensure!(text.trim() == UNSYNCED, "the guest's last file holds {text:?}");
    let head =
        capture(Command::new(find("dumpe2fs").unwrap_or_else(|| "dumpe2fs".into())).arg("-h").arg(root))?;
    ensure!(!head.contains("needs_recovery"), "the guest's file system was cut off:\n{head}");
    Ok(fs::remove_file(file)?)
}

/// Makes a disk with one partition (MBR), which holds a file system.
fn put_on_partition(content: &Path, disk: &Path) -> Result<()> {
    const SECTOR: u64 = 512;
    const LINUX: u8 = 0x83;
    const TABLE: u64 = 446;
    const SIGNATURE: u64 = 510;
    let bytes = fs::read(content)?;
    let file = File::create(disk)?;
    file.write_all_at(&bytes, PARTITION)?;
    let mut entry = [0; 16];
    entry[4] = LINUX;
    entry[8..12].copy_from_slice(&u32::try_from(PARTITION / SECTOR)?.to_le_bytes());
    entry[12..].copy_from_slice(&u32::try_from(bytes.len() as u64 / SECTOR)?.to_le_bytes());
    file.write_all_at(&entry, TABLE)?;
    Ok(file.write_all_at(&[0x55, 0xaa], SIGNATURE)?)
}

fn take_from_partition(disk: &Path, content: &Path) -> Result<()> {
    let mut bytes = fs::read(disk)?;
    Ok(fs::write(content, bytes.split_off(usize::try_from(PARTITION)?))?)
}

fn tool(arguments: &[&str], files: &[&Path]) -> Result<()> {
    capture(Command::new("qemu-img").args(arguments).args(files)).map(drop)
}
