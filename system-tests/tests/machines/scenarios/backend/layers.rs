//! A qcow2 image over another image: what the guest writes is in the upper one, and the lower one stays as it was. The same
//! guest has a disk of which it gives parts back, one that it can only read, and one whose blocks have 4,096 bytes.

mod blocks;
mod ranges;

use std::fs;

use anyhow::{Context, Result, ensure};
use testbed::disk_image::make_ext4;
use testbed::host::{Need, ensure as ensure_host};
use testbed::kernel::Series;
use testbed::qemu::{Disk, DiskBus};

use super::{boot, control_alone, start_lithd};
use crate::rig::{Rig, extract, tool};
use system_tests::harness::Lab;

/// The guest's disk, in the control domain's files.
const DISK: &str = "[[disk]]\nimage = \"/images/top.qcow2\"\nformat = \"qcow2\"\n\
                    backing = [{ image = \"/images/base.img\", format = \"raw\" }]\n";
/// Size of the lower image in MiB.
const BASE_MIB: u64 = 32;

/// Size of a file that the guest removes again, in MiB.
const PASSING_MIB: u64 = 8;

/// The guest mounts a file system of the lower image, and writes a file.
pub fn run(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    let (images, disk) = (lab.folder.join("images"), lab.folder.join("disk.img"));
    fs::create_dir_all(&images)?;
    let (base, top) = (images.join("base.img"), images.join("top.qcow2"));
    make_ext4(&base, BASE_MIB, None)?;
    let lower = fs::read(&base)?;
    ranges::make(&images)?;
    // The name of the lower image is relative to the upper one's place.
    tool("qemu-img", "create -q -f qcow2 -F raw -b base.img", &top)?;
    let [blocks, part] = ["blocks.img", "part.img"].map(|name| lab.folder.join(name));
    blocks::make_ext4(&disk, 2 * BASE_MIB + 16, Some(&images))?;
    blocks::make(&blocks, &part)?;

    let mut setup = control_alone(lab, Series::V6_12)?;
    // Four processes each map all of the guest's memory, where the control domain sees no RAM of its own.
    setup.memory_mib = 2048;
    for image in [&disk, &blocks] {
        setup.disks.push(Disk { block: Some(blocks::BLOCK), ..Disk::raw(image.clone(), DiskBus::Mmio) });
    }
    let mut rig = Rig::start(lab, &setup)?;
    for command in blocks::PLACE {
        rig.control().check(command)?;
    }
    start_lithd(&mut rig)?;
    boot(&mut rig, &format!("{DISK}{}{}", ranges::DISKS, blocks::DISK))?;
    rig.at("guest", |at| {
        let mut shell = at.shell();
        shell.check("mount -t ext4 /dev/vda /mnt && cp /bin/guest-tests /mnt/copy")?;
        shell.check(&format!("dd if=/dev/urandom of=/mnt/passing bs=1M count={PASSING_MIB} conv=fsync"))?;
        shell.check("rm /mnt/passing && sync && fstrim /mnt && umount /mnt")?;
        blocks::use_it(&mut shell)?;
        ranges::use_them(&mut shell)
    })?;
    rig.lith("destroy guest")?;
    ranges::are_given_back(&mut rig)?;
    let used = rig.control().check("du -k /images/top.qcow2")?;
    let used: u64 = used.split_whitespace().next().and_then(|kib| kib.parse().ok()).context(used)?;
    let copy = fs::metadata(&lab.assets.guest_tests)?.len() >> 10;
    ensure!(used < copy + (PASSING_MIB << 9), "the upper image takes {used} KiB, for {copy} KiB of a file");
    rig.control().check("until umount /images 2>/dev/null; do sleep 0.1; done")?;
    rig.power_off()?;

    blocks::check(&blocks, &part, &fs::read(&lab.assets.guest_tests)?)?;
    ranges::check(&disk, &images)?;
    extract(&disk, "/base.img", &base)?;
    extract(&disk, "/top.qcow2", &top)?;
    ensure!(fs::read(&base)? == lower, "the lower image has changed");
    tool("qemu-img", "check -f qcow2", &top)?;
    let (whole, copy) = (lab.folder.join("whole.img"), lab.folder.join("copy"));
    tool("qemu-img", &format!("convert -O raw {}", top.display()), &whole)?;
    tool("e2fsck", "-f -n", &whole)?;
    extract(&whole, "/copy", &copy)?;
    ensure!(fs::read(&copy)? == fs::read(&lab.assets.guest_tests)?, "the file is not what was written");
    for file in [disk, whole, copy, blocks, part] {
        fs::remove_file(file)?;
    }
    Ok(fs::remove_dir_all(images)?)
}
