//! Guests on virtio disks that lithd serves in a driver domain.

mod kaslr;
mod lith;
pub mod own_kernel;
mod sve;
mod unified;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use system_tests::guests::{MEASURED, make_disk};
use system_tests::setup::Setup;
use system_tests::shell::Shell;
use testbed::disk_image::make_ext4;
use testbed::host::{Need, ensure as ensure_host};
use testbed::kernel::Series;
use testbed::process::capture;
use testbed::qemu::Gic;

use crate::rig::{DISK_MIB, Rig, check_and_remove, description, disk, extract, setup, tool};
use system_tests::harness::{Lab, Scenario};

/// How often a guest reboots.
const REBOOTS: u32 = 20;
/// How many guests come and go, and how many of them have a disk.
const ROUNDS: u32 = 200;
const ROUNDS_WITH_DISK: u32 = 20;
/// How many of them between two looks at the memory.
const ROUNDS_AT_ONCE: u32 = 10;
/// Two guests.
const GUESTS: [&str; 2] = ["anna", "bert"];
/// Size of their second disks in MiB.
const DATA_MIB: u64 = 64;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("guest/disk-outlives-reboot-6.12-gicv3", |lab| {
            disk_outlives_reboot(lab, Series::V6_12, Gic::V3, 1)
        }),
        Scenario::new("guest/disk-outlives-reboot-6.1-gicv2", |lab| {
            disk_outlives_reboot(lab, Series::V6_1, Gic::V2, 2)
        }),
        Scenario::new("guest/newer-max-7", newer_max),
        Scenario::new("guest/qcow2", qcow2),
        Scenario::new("guest/reboots", reboots),
        Scenario::new("guest/rounds", rounds),
        Scenario::new("guest/balloons", balloons),
        Scenario::new("guest/queues", queues),
        Scenario::new("guest/two-with-two-disks", two_guests_with_two_disks),
    ];
    all.extend(lith::all());
    all.extend(own_kernel::all());
    all.extend(sve::all());
    all.extend(kaslr::all());
    all.extend(unified::all());
    all
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
    let warnings = shell.run("dmesg -r | grep '^<[0-4]>' | grep -iE 'vd[a-z]|blk|block|ext4|virtio|i/o'")?;
    ensure!(warnings.status == 1, "the guest's drivers warn: {}", warnings.output);
    Ok(())
}

/// All three domains have the newest kernel, on the CPU with all that QEMU 10 has.
fn newer_max(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut setup = setup(lab, Series::V7, &image, false)?;
    (setup.newer_qemu, setup.cpu) = (true, "max");
    outlives_reboot(lab, &setup, Series::V7, &format!("vcpus = 2\n{}", disk("/dev/vda", "")))?;
    check_and_remove(&image)
}

/// A guest on a raw image, which is a sound file system afterwards.
fn disk_outlives_reboot(lab: &Lab, series: Series, gic: Gic, vcpus: u32) -> Result<()> {
    let image = root_disk(lab)?;
    let mut setup = setup(lab, series, &image, false)?;
    setup.gic = gic;
    outlives_reboot(lab, &setup, series, &format!("vcpus = {vcpus}\n{}", disk("/dev/vda", "")))?;
    check_and_remove(&image)
}

/// A guest on a qcow2 image, which grows, and is sound afterwards as an image and as a file system.
fn qcow2(lab: &Lab) -> Result<()> {
    ensure_host(&[Need::QEMU_IMG])?;
    let (raw, image) = (root_disk(lab)?, lab.folder.join("guest.qcow2"));
    let tool = |arguments: &[&str], files: &[&Path]| {
        capture(Command::new("qemu-img").args(arguments).args(files)).map(drop)
    };
    tool(&["convert", "-f", "raw", "-O", "qcow2"], &[&raw, &image])?;
    // The disk that holds the image has room for all of it.
    fs::File::options().write(true).open(&image)?.set_len((DISK_MIB + 16) << 20)?;
    let setup = setup(lab, Series::V6_12, &image, false)?;
    outlives_reboot(lab, &setup, Series::V6_12, &disk("/dev/vda", "format = \"qcow2\"\n"))?;
    tool(&["check", "-f", "qcow2"], &[&image])?;
    tool(&["convert", "-f", "qcow2", "-O", "raw"], &[&image, &raw])?;
    fs::remove_file(image)?;
    check_and_remove(&raw)
}

/// What a driver domain has measured: MemTotal and MemFree in KiB, before it mapped a guest's memory and after. That gets
/// address space of its own, and none of the domain's RAM is given up for it; what its pages are kept track of in is small.
fn keeps_its_memory(measured: &str) -> Result<()> {
    const BOOKS_KIB: u64 = 24 << 10;
    let numbers: Vec<u64> =
        measured.split_whitespace().map(str::parse).collect::<Result<_, _>>().context(measured.to_owned())?;
    let [total_before, free_before, total_after, free_after] = numbers[..] else {
        anyhow::bail!("four numbers, and not {measured:?}");
    };
    ensure!(total_before == total_after, "the driver domain had {total_before} KiB, and has {total_after}");
    ensure!(free_before <= free_after + BOOKS_KIB, "it had {free_before} KiB free, and has {free_after}");
    Ok(())
}

/// The guest boots from its disk, writes 64 MiB of files, reboots, and finds them as they were.
fn outlives_reboot(lab: &Lab, setup: &Setup, series: Series, more: &str) -> Result<()> {
    let mut setup = setup.clone();
    for driver in &mut setup.domains {
        driver.bootargs.push_str(" measure=1");
    }
    let mut rig = Rig::start(lab, &setup)?;
    rig.write("/guest.toml", &description("guest", more))?;
    // What the driver domain says may come before the answer to the command.
    rig.control().last("lith create /guest.toml")?;
    rig.expect(MEASURED)?;
    let measured = rig.expect("\n")?;
    if series == Series::V6_12 {
        keeps_its_memory(&measured)?;
    }
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
    rig.power_off()
}

/// A guest that reboots again and again, by its own will and by lith's, leaves no memory behind.
fn reboots(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let free = rig.free_kib()?;
    rig.create("guest", &description("guest", &disk("/dev/vda", "")))?;
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

/// 200 guests come and go, and leave no memory behind. Half of them are destroyed while they run.
fn rounds(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let tiny = "kernel = \"/guest/spins\"\nmemory = \"16M\"\nvcpus = 2\n";
    rig.write("/tiny.toml", tiny)?;
    rig.write("/disk.toml", &format!("{tiny}{}", disk("/dev/vda", "")))?;
    let free = rig.free_kib()?;
    rig.lith("create /tiny.toml")?;
    rig.control().check("sleep 1")?;
    let guest = rig.json("list")?[2].clone();
    ensure!(guest["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "it does not run: {guest}");
    rig.lith("destroy tiny")?;
    for (file, rounds) in [("tiny", ROUNDS - ROUNDS_WITH_DISK), ("disk", ROUNDS_WITH_DISK)] {
        for _ in 0..rounds / ROUNDS_AT_ONCE {
            rig.control().check(&format!("rounds /{file}.toml {file} {ROUNDS_AT_ONCE}"))?;
            rig.wait_for_domains(2)?;
            let now = rig.free_kib()?;
            ensure!(now == free, "{now} KiB are free after rounds of {file}, and were {free} before");
        }
    }
    rig.power_off()
}

/// A guest gives memory back and takes it again while it uses its disk. The hypervisor has what was given, the guest's
/// files hold what they should, and the disk is served on.
fn balloons(lab: &Lab) -> Result<()> {
    const GIVEN_KIB: i64 = 8 << 10;
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let without = rig.free_kib()?;
    rig.create("guest", &description("guest", &format!("vcpus = 2\n{}", disk("/dev/vda", ""))))?;
    rig.at("guest", |at| {
        at.boot()?;
        passes(&mut at.shell(), "write /root")?;
        at.shell().check("mkdir /root/load; touch /tmp/goes-on")?;
        let load = "while [ -e /tmp/goes-on ]; do guest-tests disk /root/load; done";
        at.shell().check(&format!("({load}) >/tmp/load 2>&1 & true")).map(drop)
    })?;
    let before = rig.free_kib()?;
    for (given, gone) in [(GIVEN_KIB, GIVEN_KIB), (GIVEN_KIB, 2 * GIVEN_KIB), (-2 * GIVEN_KIB, 0)] {
        rig.at("guest", |at| {
            passes(&mut at.shell(), &format!("give-back {given}"))?;
            passes(&mut at.shell(), "check /root")
        })?;
        let (now, wanted) = (rig.free_kib()?, before.saturating_add_signed(gone));
        ensure!(now == wanted, "{now} KiB are free and not {wanted} KiB, after the guest gave {given} KiB");
    }
    rig.at("guest", |at| {
        let mut shell = at.shell();
        shell.check("rm /tmp/goes-on; wait")?;
        let output = shell.check("cat /tmp/load")?;
        ensure!(output.ends_with(" 0 failed") && !output.contains("FAILED"), "the disk under load: {output}");
        drivers_are_content(&mut shell)
    })?;
    ensure!(rig.json("disk list")?[0]["state"] == "ready", "the disk is not served any more");
    rig.lith("shutdown --wait guest")?;
    rig.wait_for_domains(2)?;
    ensure!(rig.free_kib()? == without, "{} KiB are free, and were {without} before", rig.free_kib()?);
    rig.power_off()?;
    check_and_remove(&image)
}

/// Each vCPU has a queue of its own, and all of them use the disk at once.
fn queues(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    for vcpus in [1, 2, 4] {
        rig.create("guest", &description("guest", &format!("vcpus = {vcpus}\n{}", disk("/dev/vda", ""))))?;
        rig.at("guest", |at| {
            at.boot()?;
            let mut shell = at.shell();
            ensure!(shell.check("nproc")? == vcpus.to_string());
            let expected: Vec<String> = (0..vcpus).map(|queue| queue.to_string()).collect();
            let queues = shell.check("cd /sys/block/vda/mq && cat */cpu_list | sort; cd /")?;
            ensure!(queues == expected.join("\n"), "{vcpus} vCPUs have queues for vCPUs {queues:?}");
            for vcpu in 0..vcpus {
                let test = format!("mkdir /root/{vcpu}; taskset -c {vcpu} guest-tests disk /root/{vcpu}");
                shell.check(&format!("({test}) >/tmp/{vcpu} 2>&1 & true"))?;
            }
            shell.check("wait")?;
            for vcpu in 0..vcpus {
                let output = shell.check(&format!("cat /tmp/{vcpu}"))?;
                ensure!(output.ends_with(" 0 failed"), "on vCPU {vcpu} of {vcpus}: {output}");
            }
            shell.check("rm -r /root/* && sync")?;
            drivers_are_content(&mut shell)
        })?;
        rig.lith("shutdown --wait guest")?;
        rig.wait_for_domains(2)?;
    }
    rig.power_off()?;
    check_and_remove(&image)
}

/// Two guests with two disks each, whose images are files of the driver domain, work at once; each has its own.
fn two_guests_with_two_disks(lab: &Lab) -> Result<()> {
    let content = lab.folder.join("images");
    fs::create_dir_all(&content)?;
    for guest in GUESTS {
        make_disk(&content.join(format!("{guest}-root")), DISK_MIB, &lab.assets.guest_tests)?;
        make_ext4(&content.join(format!("{guest}-data")), DATA_MIB, None)?;
    }
    let image = lab.folder.join("images.img");
    make_ext4(&image, 2 * (DISK_MIB + DATA_MIB) + 64, Some(&content))?;
    fs::remove_dir_all(&content)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, true)?)?;
    for guest in GUESTS {
        let disks = ["root", "data"]
            .map(|what| disk(&format!("/images/{guest}-{what}"), &format!("serial = \"{guest}-{what}\"\n")));
        rig.create(guest, &description(guest, &disks.concat()))?;
    }
    for guest in GUESTS {
        rig.at(guest, |at| {
            at.boot()?;
            let mut shell = at.shell();
            let serials = shell.check("cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial")?;
            ensure!(serials == format!("{guest}-root\n{guest}-data"), "{guest} has the disks {serials:?}");
            shell.check("mount -t ext4 /dev/vdb /mnt && hostname >/root/host")?;
            shell.check(&format!("echo {guest} >/mnt/owner && echo {guest} >/root/owner"))?;
            for (folder, log) in [("/root", "/tmp/root"), ("/mnt", "/tmp/data")] {
                shell.check(&format!("guest-tests disk {folder} >{log} 2>&1 & true"))?;
            }
            Ok(())
        })?;
    }
    for guest in GUESTS {
        rig.at(guest, |at| {
            let mut shell = at.shell();
            shell.check("wait")?;
            for log in ["/tmp/root", "/tmp/data"] {
                let output = shell.check(&format!("cat {log}"))?;
                ensure!(output.ends_with(" 0 failed"), "{guest}, {log}: {output}");
            }
            shell.check("umount /mnt")?;
            shell.last("reboot -f")?;
            at.expect("it is started again")?;
            at.boot()?;
            at.shell().check("mount -t ext4 /dev/vdb /mnt")?;
            let owners = at.shell().check("cat /root/owner /mnt/owner")?;
            ensure!(owners == format!("{guest}\n{guest}"), "{guest} has the disks of {owners:?}");
            drivers_are_content(&mut at.shell())?;
            at.shell().check("umount /mnt").map(drop)
        })?;
    }
    for guest in GUESTS {
        rig.lith(&format!("shutdown --wait {guest}"))?;
    }
    rig.wait_for_domains(2)?;
    rig.power_off()?;
    // The driver domain's own file system was in use when the power went; what its guests flushed is there.
    tool("e2fsck", "-p", &image)?;
    tool("e2fsck", "-f -n", &image)?;
    for guest in GUESTS {
        for what in ["root", "data"] {
            let own = lab.folder.join(format!("{guest}-{what}"));
            extract(&image, &format!("/{guest}-{what}"), &own)?;
            check_and_remove(&own).with_context(|| format!("{guest}'s {what} disk"))?;
        }
    }
    Ok(fs::remove_file(&image)?)
}
