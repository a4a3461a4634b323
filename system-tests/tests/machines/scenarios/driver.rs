//! A driver domain: started at boot beside the first domain, with a disk of the machine as its own.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use system_tests::assets::{DRIVER, DRIVER_DONE};
use system_tests::shell::{READY, Shell};
use testbed::disk_image::make_ext4;
use testbed::kernel::Series;
use testbed::process::{capture, find};
use testbed::qemu::{BootDomain, Disk, DiskBus, Gic};

use system_tests::harness::{Lab, Scenario};

/// Size of the disks in MiB.
const DISK_MIB: u64 = 128;
/// The slot that is given away, and one that shares no page with it.
const SLOTS: [u32; 2] = [0, 31];

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("driver/owns-a-disk-6.12", |lab| owns_a_disk(lab, Series::V6_12, Gic::V3)),
        Scenario::new("driver/owns-a-disk-6.1-gicv2", |lab| owns_a_disk(lab, Series::V6_1, Gic::V2)),
        Scenario::new("driver/pending-interrupt-follows-its-route-gicv2", |lab| reroutes(lab, Gic::V2)),
        Scenario::new("driver/pending-interrupt-follows-its-route-gicv3", |lab| reroutes(lab, Gic::V3)),
    ]
}

/// Two disks, two owners: each domain has one, uses it by DMA, and does not see the other's.
fn owns_a_disk(lab: &Lab, series: Series, gic: Gic) -> Result<()> {
    let mut setup = lab.linux(series)?;
    setup.gic = gic;
    setup.domains.push(BootDomain {
        name: "driver".into(),
        kernel: lab.assets.kernel(series)?.image(),
        ramdisk: Some(lab.assets.initramfs(series)),
        bootargs: format!("console=ttyAMA0 quiet run={DRIVER}"),
        memory_mib: 256,
        vcpus: 1,
        vpl011: true,
        direct_map: true,
        passthrough: vec![SLOTS[0]],
        ..BootDomain::default()
    });
    let images = SLOTS.map(|slot| lab.folder.join(format!("slot{slot}.img")));
    for (slot, image) in SLOTS.into_iter().zip(&images) {
        make_ext4(image, DISK_MIB, None)?;
        setup.disks.push(Disk::raw(image.clone(), DiskBus::MmioSlot(slot)));
    }
    let mut machine = lab.start(&setup)?;
    let said = machine.expect(DRIVER_DONE)?;
    if !said.contains(READY) {
        machine.expect(READY)?;
    }
    let mut shell = Shell::that_listens(&mut machine.console);
    ensure!(shell.check("ls /sys/block | grep -c vd")? == "1", "the first domain sees more than its disk");
    shell.check("mount -t ext4 /dev/vda /mnt")?;
    let outcome = shell.run("guest-tests disk /mnt")?;
    ensure!(outcome.status == 0, "{}", outcome.output);
    shell.check("umount /mnt")?;
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    for image in &images {
        let mut check = Command::new(find("e2fsck").unwrap_or_else(|| "e2fsck".into()));
        capture(check.args(["-f", "-n"]).arg(image))?;
        fs::remove_file(image)?;
    }
    Ok(())
}

/// A device's edge is not lost when its owner moves to another CPU before it is taken.
fn reroutes(lab: &Lab, gic: Gic) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.option("panic=halt").option("test=reroute");
    setup.gic = gic;
    setup.cpus = 2;
    lab.start(&setup)?.expect("followed its route")?;
    Ok(())
}
