//! A hostile backend in a driver domain, and a Linux guest that has a good disk besides.

use std::fs;

use anyhow::{Result, ensure};
use system_tests::guests::HOSTILE;
use system_tests::shell::Shell;
use testbed::disk_image::make_ext4;
use testbed::kernel::Series;
use testbed::qemu::{Disk, DiskBus};
use testbed::roles::DRIVER_DOMAIN;

use super::{another, boot, control_alone, obeys, start_lithd};
use crate::rig::{self, Rig};
use system_tests::harness::Lab;

/// The good disk, which the control domain serves.
const GOOD: &str = "vcpus = 2\n[[disk]]\nimage = \"/dev/vda\"\n";
/// Its size in MiB.
const GOOD_MIB: u64 = 64;
/// A guest that does nothing.
const OTHER: &str = "kernel = \"/guest/tiny\"\nmemory = \"16M\"\n";
/// How often it is used under attack.
const ROUNDS: u32 = 5;
/// Memory of the driver domain, at least.
const DRIVER_KIB: u64 = 100 << 10;
/// Has vCPU 1 alone work for the bad disk. What it waits for then, the others do not.
const APART: [&str; 3] = [
    "n=$(awk -F: '/virtio1$/ { print $1 + 0 }' /proc/interrupts)",
    "echo 2 >/proc/irq/$n/smp_affinity",
    "taskset -p 1 $$",
];
/// Uses the bad disk again and again, however that ends.
const USE_BAD: &str = "for i in $(seq 100); do taskset 2 sh /tmp/use $i & sleep 0.1; done";

/// Writes a file to the good disk and reads it. Nothing in that has one vCPU wait for the other.
fn copy(shell: &mut Shell) -> Result<()> {
    shell.check("dd if=/bin/guest-tests of=/mnt/copy bs=64k conv=fsync")?;
    shell.check("cmp /bin/guest-tests /mnt/copy").map(drop)
}

/// While the backend writes what it likes into the slots, sends events and makes and ends servers, the guest uses its good
/// disk and obeys. When the backend never answers, a vCPU is lost until it is gone, and the guest still obeys.
pub fn run(lab: &Lab) -> Result<()> {
    let image = lab.folder.join("good.img");
    make_ext4(&image, GOOD_MIB, None)?;
    let mut setup = control_alone(lab, Series::V6_12)?;
    setup.disks.push(Disk::raw(image.clone(), DiskBus::Mmio));
    setup.domains.push(another(lab, Series::V6_12, HOSTILE)?);
    let mut rig = Rig::start(lab, &setup)?;
    start_lithd(&mut rig)?;
    let free = rig.free_kib()?;
    boot(&mut rig, &format!("{GOOD}{}", rig::disk("/disk.img", "")))?;
    rig.at("guest", |at| {
        let mut shell = at.shell();
        shell.check("mount -t ext4 /dev/vda /mnt")?;
        for command in APART {
            shell.check(command)?;
        }
        shell.check("echo 'dd if=/dev/vdb of=/dev/null bs=4k skip=$1 count=1' >/tmp/use")?;
        shell.check(&format!("({USE_BAD}) >/dev/null 2>&1 & true"))?;
        shell.check("printf attack | dd of=/dev/vdb conv=fsync")?;
        (0..ROUNDS).try_for_each(|_| copy(&mut shell))
    })?;
    obeys(&mut rig)?;
    // That domain serves another disk, as it should; and falls silent.
    rig.create("other", &format!("{OTHER}{}", rig::disk("/other.img", "")))?;
    rig.expect("hostile: never answers again")?;
    obeys(&mut rig)?;
    rig.lith(&format!("destroy --force {DRIVER_DOMAIN}"))?;
    rig.at("guest", |at| copy(&mut at.shell()))?;
    obeys(&mut rig)?;
    rig.lith("destroy guest")?;
    rig.lith("destroy other")?;
    rig.wait_for_domains(1)?;
    let now = rig.free_kib()?;
    ensure!(now >= free + DRIVER_KIB, "{free} KiB were free with the driver domain, {now} KiB without");
    rig.power_off()?;
    Ok(fs::remove_file(image)?)
}
