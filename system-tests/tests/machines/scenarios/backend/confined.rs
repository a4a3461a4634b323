//! What the process of a device has given up before it serves, and what becomes of a device where that cannot be.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use super::{DISK, boot, control_alone, ends, load, start_lithd, start_lithd_with, wait_for_backend};
use crate::rig::Rig;
use system_tests::harness::Lab;

/// Disks that the control domain serves, the guest's first one among them.
const DISKS: &str = "[[disk]]\nimage = \"/disk.img\"\n[[disk]]\nimage = \"/other.img\"\n";
/// The processes that serve them, a line each.
const DEVICES: &str = "ps | awk '/ device --[s]lot/ { print $1 }'";
/// The user of a process is this and the number of the process.
const OWN_USERS: u32 = 0x7000_0000;

/// Each device's process has given up all that it does not need, in each of its threads, and shares neither user nor control
/// group with another.
pub fn run(lab: &Lab, series: Series) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, series)?)?;
    rig.control().check("truncate -s 32M /disk.img /other.img")?;
    rig.control().check("mkdir /groups && mount -t cgroup2 none /groups")?;
    start_lithd(&mut rig)?;
    let free = rig.free_kib()?;
    boot(&mut rig, DISKS)?;
    load(&mut rig)?;
    let list = rig.lith("disk list")?;
    ensure!(!list.contains("weakly"), "lith disk list shows {list}");
    let devices = rig.control().check(DEVICES)?;
    let devices: Vec<u32> = devices.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>()?;
    ensure!(devices.len() == 2, "there are the processes {devices:?}");
    for &device in &devices {
        has_given_up(&mut rig, device)?;
        has_a_group(&mut rig, device)?;
    }
    ends(&mut rig, free)?;
    // lithd looks now and then for the end of its processes.
    rig.control().check("while ls /groups | grep -q device-; do sleep 0.1; done")?;
    rig.power_off()
}

fn has_given_up(rig: &mut Rig, device: u32) -> Result<()> {
    let status = rig.control().check(&format!("cat /proc/{device}/task/*/status"))?;
    let user = (OWN_USERS + device).to_string();
    let user = [user.as_str(); 4].join(" ");
    for (field, wanted) in [
        ("Uid", user.as_str()),
        ("Gid", user.as_str()),
        ("Groups", ""),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let mut threads =
            status.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(':')).peekable();
        ensure!(threads.peek().is_some(), "no {field} in {status}");
        for found in threads {
            let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(found == wanted, "lithd serves with {field} {found:?}");
        }
    }
    Ok(())
}

fn has_a_group(rig: &mut Rig, device: u32) -> Result<()> {
    let group = rig.control().check(&format!("cat /proc/{device}/cgroup"))?;
    ensure!(group.lines().any(|line| line == format!("0::/device-{device}")), "it is in the groups {group}");
    let limits = format!("cat /groups/device-{device}/cpu.weight /groups/device-{device}/pids.max");
    let limits = rig.control().check(&limits)?;
    ensure!(limits.split_whitespace().eq(["100", "64"]), "its group has the limits {limits}");
    Ok(())
}

/// Where the kernel keeps Landlock off, a disk is not served, unless `lithd serve` is told to; then `lith disk list` says so.
pub fn weakly(lab: &Lab) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?.bootarg("lsm=yama"))?;
    rig.control().check("truncate -s 32M /disk.img")?;
    start_lithd(&mut rig)?;
    rig.write("/weak.toml", &super::description(DISK))?;
    let said = rig.refused("create /weak.toml")?;
    ensure!(
        said.contains("cannot be confined: no Landlock") && said.contains("--allow-weak"),
        "lith create says {said}"
    );
    rig.control()
        .check("kill $(cat /tmp/serve); while kill -0 $(cat /tmp/serve) 2>/dev/null; do sleep 0.1; done")?;
    start_lithd_with(&mut rig, "--allow-weak")?;
    let free = rig.free_kib()?;
    boot(&mut rig, DISK)?;
    wait_for_backend(&mut rig, "ready")?;
    let list = rig.lith("disk list")?;
    ensure!(
        list.contains("weakly confined (no Landlock") && list.contains("serves /disk.img"),
        "lith disk list shows {list}"
    );
    load(&mut rig)?;
    ends(&mut rig, free)?;
    rig.power_off()
}
