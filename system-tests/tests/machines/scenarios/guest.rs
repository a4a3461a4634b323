//! Guests on virtio disks that lithd serves in a driver domain.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use system_tests::guests::make_disk;
use system_tests::shell::Shell;
use testbed::kernel::Series;
use testbed::qemu::Gic;

use crate::harness::{Lab, Scenario};
use crate::rig::{DISK_MIB, Rig, check_and_remove, description, disk, setup};

/// How often a guest reboots.
const REBOOTS: u32 = 20;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("guest/disk-outlives-reboot-6.12-gicv3", |lab| {
            disk_outlives_reboot(lab, Series::V6_12, Gic::V3, 1)
        }),
        Scenario::new("guest/disk-outlives-reboot-6.1-gicv2", |lab| {
            disk_outlives_reboot(lab, Series::V6_1, Gic::V2, 2)
        }),
        Scenario::new("guest/reboots", reboots),
    ]
}

/// An image for the driver domain's disk: a guest's root file system.
fn root_disk(lab: &Lab) -> Result<PathBuf> {
    let image = lab.folder.join("guest.img");
    make_disk(&image, DISK_MIB, &lab.assets.guest_tests)?;
    Ok(image)
}

/// Runs a test of our program, which must pass.
fn passes(shell: &mut Shell, test: &str) -> Result<()> {
    let outcome = shell.run(&format!("guest-tests {test}"))?;
    ensure!(outcome.status == 0, "guest-tests {test} ended with {}:\n{}", outcome.status, outcome.output);
    Ok(())
}

/// Linux's own driver serves the disk, and nothing about it was worth a warning.
fn drivers_are_content(shell: &mut Shell) -> Result<()> {
    let log = shell.check("dmesg")?;
    let found = format!("virtio_blk virtio0: [vda] {} 512-byte logical blocks", DISK_MIB * 2048);
    ensure!(log.contains(&found), "no {found:?} in the guest's log:\n{log}");
    let driver = shell.check("readlink /sys/devices/platform/2000000.virtio/driver")?;
    ensure!(driver.ends_with("/virtio-mmio"), "the disk's place is driven by {driver}");
    let complaints =
        shell.run("dmesg -r | grep '^<[0-4]>' | grep -iE 'vd[a-z]|blk|block|ext4|virtio|i/o'")?;
    ensure!(complaints.status == 1, "the guest's drivers complain: {}", complaints.output);
    Ok(())
}

/// The guest boots from its disk, writes 64 MiB of files, reboots, and finds them as they were.
fn disk_outlives_reboot(lab: &Lab, series: Series, gic: Gic, vcpus: u32) -> Result<()> {
    let image = root_disk(lab)?;
    let mut setup = setup(lab, series, &image, false)?;
    setup.gic = gic;
    let mut rig = Rig::start(lab, &setup)?;
    rig.create("guest", &description("guest", &format!("vcpus = {vcpus}\n{}", disk("/dev/vda", ""))))?;
    rig.at("guest", |at| {
        at.boot()?;
        let mut shell = at.shell();
        ensure!(shell.check("uname -r")?.starts_with(&format!("{series}.")));
        ensure!(shell.check("grep ' / ' /proc/mounts")?.contains("/dev/vda / ext4"), "its root is no disk");
        drivers_are_content(&mut shell)?;
        passes(&mut shell, "write /root")
    })?;
    let first = rig.json("info guest")?["domain"].clone();
    rig.lith("reboot guest")?;
    rig.at("guest", |at| {
        at.boot()?;
        passes(&mut at.shell(), "check /root")?;
        drivers_are_content(&mut at.shell())
    })?;
    let info = rig.json("info guest")?;
    ensure!(info["domain"] != first && info["record"]["restarts"] == 1, "after one reboot: {info}");
    rig.lith("shutdown --wait guest")?;
    rig.wait_for_domains(2)?;
    rig.power_off()?;
    check_and_remove(&image)
}

/// A guest that reboots again and again, by its own will and by lith's, leaves no memory behind.
fn reboots(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let text = description("guest", &disk("/dev/vda", ""));
    let free = free_without_guests(&mut rig, &text)?;
    rig.create("guest", &text)?;
    rig.at("guest", |at| {
        at.boot()?;
        for round in 1..REBOOTS {
            let mut shell = at.shell();
            shell.check(&format!("[ $(ls /root | wc -l) -eq {} ]", round - 1))?;
            shell.check(&format!("echo {round} >/root/{round} && sync"))?;
            shell.last("reboot -f")?;
            at.expect("it is started again")?;
            at.boot()?;
        }
        Ok(())
    })?;
    rig.lith("reboot guest")?;
    rig.at("guest", |at| {
        at.boot()?;
        ensure!(at.shell().check(&format!("cat /root/{}", REBOOTS - 1))? == (REBOOTS - 1).to_string());
        Ok(())
    })?;
    let restarts = rig.json("info guest")?["record"]["restarts"].clone();
    ensure!(restarts == REBOOTS, "{restarts} restarts");
    rig.lith("destroy guest")?;
    rig.wait_for_domains(2)?;
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    rig.power_off()
}

/// Free memory when there is no guest, but was one: what the control and driver domains' tables need for a guest, they
/// keep.
fn free_without_guests(rig: &mut Rig, text: &str) -> Result<u64> {
    rig.create("guest", text)?;
    rig.lith("destroy guest")?;
    rig.wait_for_domains(2)?;
    rig.free_kib()
}
