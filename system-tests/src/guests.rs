//! The files of a machine with guests: a control domain with `lith`, a driver domain that serves the first disk, and
//! what a guest boots from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use testbed::disk_image;
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::programs::Extra;
use testbed::qemu::BootDomain;
use testbed::roles::{self, DRIVER_BOOTARGS};

use crate::assets::add_tests;
use crate::shell;

/// What the shell of a guest's disk prints when it listens; the boot's identifier follows.
pub const READY: &str = "SYSTEM-TESTS: guest's shell ready ";

/// The driver domain's program: it serves for ever, and says nothing on the console that all share.
const SERVE: &str = "/bin/serve-quietly";
const SERVE_SCRIPT: &str = "#!/bin/sh
# With `images` on the command line the images are files of the disk, else the disk is the image.
[ -n \"$images\" ] && mkdir /images && mount -t ext4 /dev/vda /images
# With `measure` it is told what memory there was before the first disk was served, and is then.
memory() {
    awk '/^Mem(Total|Free):/ { printf \"%s \", $2 }' /proc/meminfo
}
[ -n \"$measure\" ] && (
    before=$(memory)
    until grep -q 'slot .*: serves' /tmp/lithd.log; do sleep 0.2; done 2>/dev/null
    echo \"driver: memory: $before $(memory)\"
) &
while true; do
    lithd serve >>/tmp/lithd.log 2>&1
    sleep 1
done
";
/// What a driver domain with `measure` on its command line says when it serves its first disk. MemTotal and MemFree follow in
/// KiB, before and then.
pub const MEASURED: &str = "driver: memory:";
/// A domain's program that tries to be the device model of guest 2, and says `stranger: done`.
pub const STRANGER: &str = "/bin/stranger";
const STRANGER_SCRIPT: &str = "#!/bin/sh
guest-tests stranger 2
echo \"stranger: done, with status $?\"
";
/// A domain's program that attacks the control domain and guest 2 as `guest-tests attack` does, with `seed` and `calls` of its
/// command line, and says `attack: done`. It waits for the guest.
pub const ATTACK: &str = "/bin/attack";
const ATTACK_SCRIPT: &str = "#!/bin/sh
guest-tests attack $seed $calls 1 2>&1
echo \"attack: done, with status $?\"
";
/// A driver domain's program: it serves a small disk until the guest has written a word to it. Then another program takes
/// the device, is as hostile as it can be, and says that it never answers again.
pub const HOSTILE: &str = "/bin/hostile";
const HOSTILE_SCRIPT: &str = "#!/bin/sh
truncate -s 8M /disk.img /other.img
lithd serve >/tmp/lithd.log 2>&1 &
until [ \"$(head -c 6 /disk.img)\" = attack ]; do sleep 0.1; done
guest-tests hostile-backend 1
echo \"hostile: done, with status $?\"
";
/// RAM of the driver domain in MiB: Linux 6.1 gives up as much of it as it maps of guests.
const DRIVER_MIB: u64 = 512;

/// Makes and destroys a guest: its file, its name, how often. Every other time the guest does not begin.
const ROUNDS_SCRIPT: &str = "#!/bin/sh
round=0
while [ $round -lt $3 ]; do
    [ $((round % 2)) -eq 0 ] && paused= || paused=--paused
    lith create $paused $1 >/tmp/said 2>&1 && lith destroy $2 >>/tmp/said 2>&1 || break
    round=$((round + 1))
done
[ $round -eq $3 ] || { cat /tmp/said; exit 1; }
";

/// Kills the process of the device whose image this is.
const KILL_SCRIPT: &str = "#!/bin/sh
for process in $(ps | awk '/ device --[s]lot/ { print $1 }'); do
    ls -l /proc/$process/fd | grep -q \" $1\\$\" && kill -9 $process && exit 0
done
exit 1
";

/// Writes and reads a disk back again and again: the disk, and what it is called in `/tmp`. There a file `NAME.done` gets a line
/// each time, and `NAME.wrong` is made when something else was read than was written. A request that is never answered ends
/// this in the middle of a command. So does a disk of no bytes: a driver that asks a dead backend why it was interrupted reads
/// all ones, and so does its look at the capacity.
const VERIFY_SCRIPT: &str = "#!/bin/sh
disk=$1 file=/tmp/$2 at=0
dd if=/dev/urandom of=$file.is bs=64k count=16 2>/dev/null
while dd if=$file.is of=$disk bs=64k seek=$at conv=fsync 2>/dev/null; do
    echo 1 >/proc/sys/vm/drop_caches
    dd if=$disk of=$file.was bs=64k skip=$at count=16 2>/dev/null || break
    [ $(wc -c <$file.was) -eq 1048576 ] || break
    cmp $file.is $file.was >$file.said 2>&1 || { ls -l $file.* | cat $file.said - >$file.wrong; break; }
    echo round >>$file.done
    at=$(((at + 16) % 256))
done
";

/// The guest's init: a shell on its console, again whenever it ends.
const INITTAB: &str = "::sysinit:/etc/rc
::respawn:/bin/test-shell
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/mount -o remount,ro /
";
const GUEST_SHELL: &str = r#"#!/bin/sh
stty -echo
dmesg -n 1
export PS1= PS2= PATH=/sbin:/bin:/usr/sbin:/usr/bin
echo "SYSTEM-TESTS: guest's shell ready $(cat /proc/sys/kernel/random/boot_id)"
sh
"#;

/// A kernel that waits for interrupts, for ever.
const WAITS: [u32; 2] = [0xd503_207f, 0x17ff_ffff];
/// A kernel that never stops: `b .`.
const SPINS: [u32; 1] = [0x1400_0000];
/// A kernel that tells the hypervisor that it has crashed: `sched_op(SHUTDOWN, &CRASH)`.
const CRASHES: [u32; 6] = [
    0x1000_00a1, // adr x1, the last word
    0xd280_0040, // mov x0, 2
    0xd280_03b0, // mov x16, 29
    0xd401_d422, // hvc 0xea1
    0x1400_0000, // b .
    3,
];

/// A kernel of one page with the header of an arm64 `Image`.
fn tiny_kernel(code: &[u32]) -> Vec<u8> {
    const BRANCH_TO_CODE: u32 = 0x1400_0010;
    const LITTLE_ENDIAN_4K_ANYWHERE: u64 = 0xa;
    const SIZE: u16 = 4096;
    let mut image = BRANCH_TO_CODE.to_le_bytes().to_vec();
    image.resize(16, 0);
    image.extend(u64::from(SIZE).to_le_bytes());
    image.extend(LITTLE_ENDIAN_4K_ANYWHERE.to_le_bytes());
    image.resize(0x38, 0);
    image.extend(b"ARM\x64");
    image.resize(0x40, 0);
    image.extend(code.iter().flat_map(|word| word.to_le_bytes()));
    image.resize(SIZE.into(), 0);
    image
}

/// Builds the programs of both domains and writes the initial file systems for every kernel.
pub(crate) fn prepare(
    output: &Path,
    guest_tests: &Path,
    lithd: &Path,
    lith: &Path,
    [bare, bare_guest]: [&Path; 2],
) -> Result<()> {
    for series in Series::ALL {
        let kernel = Kernel::fetch(series)?;
        let (busybox, modules) = (kernel::busybox()?, kernel.modules());
        let base = || -> Result<Initramfs> {
            let mut base = Initramfs::base(&busybox, Some(&modules))?;
            add_tests(&mut base, guest_tests)?;
            Ok(base)
        };
        let ramdisk = output.join(format!("guest-{series}.cpio"));
        fs::write(&ramdisk, roles::guest(&busybox, Some(&modules))?.to_cpio()?)?;
        let guest = roles::Guest {
            kernel: kernel.image(),
            ramdisk: Some(ramdisk),
            bootargs: "console=hvc0 quiet".into(),
            memory_mib: 160,
            vcpus: 1,
            disks: 1,
        };
        let mut control = roles::control(base()?, lith, &guest, &[guest.description()])?;
        control.file("bin/rounds", 0o755, ROUNDS_SCRIPT.into());
        control.file("bin/kill-device", 0o755, KILL_SCRIPT.into());
        control.file("guest/tiny", 0o644, tiny_kernel(&WAITS));
        control.file("guest/spins", 0o644, tiny_kernel(&SPINS));
        control.file("guest/crashes", 0o644, tiny_kernel(&CRASHES));
        control.file("guest/bare", 0o644, fs::read(bare)?);
        control.file("guest/bare-guest", 0o644, fs::read(bare_guest)?);
        let description = paths::workspace().join("examples/bare-guest/bare-guest.toml");
        control.file("guest/bare-guest.toml", 0o644, fs::read(description)?);
        let mut shell = base()?;
        shell.file("bin/verify", 0o755, VERIFY_SCRIPT.into());
        control.file("guest/shell", 0o644, shell.to_cpio()?);
        control.file("bin/lithd", 0o755, fs::read(lithd)?);
        fs::write(control_file(output, series), control.to_cpio()?)?;
        let mut driver = roles::driver(base()?, lithd)?;
        driver.file(SERVE.trim_start_matches('/'), 0o755, SERVE_SCRIPT.into());
        driver.file(STRANGER.trim_start_matches('/'), 0o755, STRANGER_SCRIPT.into());
        driver.file(ATTACK.trim_start_matches('/'), 0o755, ATTACK_SCRIPT.into());
        driver.file(HOSTILE.trim_start_matches('/'), 0o755, HOSTILE_SCRIPT.into());
        fs::write(driver_file(output, series), driver.to_cpio()?)?;
    }
    Ok(())
}

/// The control domain's initial file system: that of the other tests with `lith`, `lithd` and the files of a guest, which
/// `/guest/guest.toml` describes. `/guest/shell` is a ramdisk for guests with a shell and no need of a disk, `/guest/bare`
/// the kernel of `system-tests/bare`, `/guest/bare-guest` and `/guest/bare-guest.toml` the example of that name.
pub fn control_file(output: &Path, series: Series) -> PathBuf {
    output.join(format!("control-{series}.cpio"))
}

fn driver_file(output: &Path, series: Series) -> PathBuf {
    output.join(format!("driver-{series}.cpio"))
}

/// The driver domain, which owns the disk in virtio-mmio slot 0. With `images` it mounts that disk at `/images`.
pub fn driver(output: &Path, series: Series, images: bool) -> Result<BootDomain> {
    Ok(BootDomain {
        name: "driver".into(),
        kernel: Kernel::fetch(series)?.image(),
        ramdisk: Some(driver_file(output, series)),
        bootargs: format!("{DRIVER_BOOTARGS} run={SERVE}{}", if images { " images=1" } else { "" }),
        memory_mib: DRIVER_MIB,
        vcpus: 1,
        vpl011: true,
        direct_map: true,
        passthrough: vec![0],
        ..BootDomain::default()
    })
}

/// Makes a guest's disk of `mib` MiB, whose init is a shell that says [`READY`], with our programs.
pub fn make_disk(image: &Path, mib: u64, guest_tests: &Path) -> Result<()> {
    make_disk_with(image, mib, guest_tests, Vec::new())
}

/// The same, with these files besides.
pub fn make_disk_with(image: &Path, mib: u64, guest_tests: &Path, mut extras: Vec<Extra>) -> Result<()> {
    let extra = |path: &str, permissions: u32, data: Vec<u8>| Extra { path: path.into(), permissions, data };
    extras.extend([
        extra("etc/inittab", 0o644, INITTAB.into()),
        extra(shell::PROGRAM.trim_start_matches('/'), 0o755, GUEST_SHELL.into()),
        extra("bin/guest-tests", 0o755, fs::read(guest_tests)?),
    ]);
    disk_image::make(image, mib, &extras)
}
