//! `cargo xtask run`, as its user types it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use system_tests::guests::{READY, make_disk};
use system_tests::shell::Shell;
use testbed::host::{Need, ensure as ensure_host};
use testbed::process::capture;
use testbed::toolchain::cargo;

use crate::harness::{Lab, Scenario};
use crate::rig::{DISK_MIB, check_and_remove};
use crate::turns::Running;

/// CPUs of its machine, if nothing else is said.
const CPUS: u32 = 2;
/// Where the partition begins, in bytes.
const PARTITION: u64 = 1 << 20;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![Scenario::new("run/disk-of-ones-own", disk_of_ones_own)]
}

/// `--disk` with a partitioned qcow2 image: the guest's root is found on its partition, or is the one that `root=`
/// names, and what the guest writes is in the image.
fn disk_of_ones_own(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    let [root, raw, image] = ["root.img", "raw.img", "own.qcow2"].map(|name| lab.folder.join(name));
    make_disk(&root, DISK_MIB, &lab.assets.guest_tests)?;
    put_on_partition(&root, &raw)?;
    tool(&["convert", "-f", "raw", "-O", "qcow2"], &[&raw, &image])?;
    let mut command = cargo("xtask");
    command.args(["run", "--disk"]).arg(&image);
    let mut machine = lab.start_command(command, CPUS)?;
    at_guest(&mut machine, "write")?;
    // The control domain's shell has a prompt, behind which commands stand.
    machine.expect("control# ")?;
    let mut shell = Shell::that_listens(&mut machine.console);
    shell.check("sed -i 's:quiet:quiet root=/dev/vda1:' /guest/guest.toml")?;
    shell.check("lith create /guest/guest.toml")?;
    shell.last("lith console guest")?;
    at_guest(&mut machine, "check")?;
    machine.expect("control# ")?;
    machine.console.send("poweroff\n")?;
    machine.wait_for_end()?;

    tool(&["check", "-f", "qcow2"], &[&image])?;
    tool(&["convert", "-f", "qcow2", "-O", "raw"], &[&image, &raw])?;
    take_from_partition(&raw, &root)?;
    fs::remove_file(raw)?;
    fs::remove_file(image)?;
    check_and_remove(&root)
}

/// Waits for the guest's shell; its root is the partition, where files are written or checked; the guest ends.
fn at_guest(machine: &mut Running, test: &str) -> Result<()> {
    machine.expect(READY)?;
    let mut shell = Shell::that_listens(&mut machine.console);
    ensure!(shell.check("grep ' / ' /proc/mounts")?.contains("/dev/vda1 / ext4"), "its root is no partition");
    let tested = shell.run(&format!("guest-tests {test} /root"))?;
    ensure!(tested.status == 0, "guest-tests {test} ended with {}:\n{}", tested.status, tested.output);
    shell.last("poweroff")?;
    machine.expect("Guest guest has ended.").map(drop)
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
