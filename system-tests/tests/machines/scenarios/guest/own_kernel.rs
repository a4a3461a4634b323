//! Guests that boot their own kernel, off their disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use system_tests::guests::{control_file, make_disk_with};
use testbed::kernel::{self, Kernel, Series};
use testbed::programs::Extra;
use testbed::qemu::{Disk, DiskBus};
use testbed::roles;

use crate::rig::{Rig, check_and_remove, tool};
use system_tests::harness::{Lab, Scenario};

/// Size of the disk in MiB: two kernels with their ramdisks lie on it.
const DISK_MIB: u64 = 320;
/// The UUID of the file system with the kernels.
pub const UUID: &str = "5b1e9c9a-1f0e-4f6d-8a59-0c2f6a4e7d10";
/// Where the module is that the guest loads, in the folder of a kernel's modules.
const MODULE: &str = "kernel/drivers/net/dummy.ko";

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![Scenario::new("guest/own-kernel", own_kernel)]
}

/// A kernel with what belongs to it, as a distribution installs it.
pub struct Installed {
    /// What `uname -r` says.
    pub release: String,
    /// Its files.
    pub files: Vec<Extra>,
}

/// The kernel of a series, its ramdisk and a module.
pub fn install(series: Series) -> Result<Installed> {
    let kernel = Kernel::fetch(series)?;
    let image = fs::read(kernel.image())?;
    let mark = b"Linux version ";
    let at = image.windows(mark.len()).position(|window| window == mark).context("the kernel's release")?;
    let release = image[at + mark.len()..].split(|byte| *byte == b' ').next().unwrap_or_default();
    let release = String::from_utf8(release.to_vec())?;
    let (module, packed) = (kernel.modules().join(MODULE), kernel.modules().join(format!("{MODULE}.xz")));
    let (module, name) =
        if module.exists() { (module, MODULE.to_owned()) } else { (packed, format!("{MODULE}.xz")) };
    let ramdisk = roles::guest(&kernel::busybox()?, Some(&kernel.modules()))?.to_gzip()?;
    let file = |path: String, data: Vec<u8>| Extra { path, permissions: 0o644, data };
    let files = vec![
        // In the forms that distributions ship.
        file(format!("boot/vmlinuz-{release}"), fs::read(kernel.zboot()?)?),
        file(format!("boot/initrd.img-{release}"), ramdisk),
        file(format!("lib/modules/{release}/{name}"), fs::read(module)?),
        file(format!("lib/modules/{release}/modules.dep"), format!("{name}:\n").into_bytes()),
    ];
    Ok(Installed { release, files })
}

/// What `grub-mkconfig` would write: the kernel that is started first, and another one below it.
pub fn grub(first: &str, other: &str) -> String {
    let entry = |id: &str, release: &str| {
        format!(
            "menuentry 'Linux {release}' --id {id} {{\n\tsearch --no-floppy --fs-uuid --set=root {UUID}\n\
             \tlinux /boot/vmlinuz-{release} root=UUID={UUID} quiet\n\tinitrd /boot/initrd.img-{release}\n}}\n"
        )
    };
    format!("set default=\"0\"\n{}submenu More {{\n{}}}\n", entry("first", first), entry("other", other))
}

/// A guest boots the kernel that its disk's boot loader names, has that one's modules, and after an upgrade within it, and a
/// reboot, the new one. An entry can be named, and a disk without a kernel is refused.
fn own_kernel(lab: &Lab) -> Result<()> {
    let [old, new] = [install(Series::V6_1)?, install(Series::V6_12)?];
    let (from, to) = (old.release.clone(), new.release.clone());
    let mut extras = old.files;
    extras.extend(new.files);
    for (path, text) in [("boot/grub/grub.cfg", grub(&from, &to)), ("root/upgraded.cfg", grub(&to, &from))] {
        extras.push(Extra { path: path.into(), permissions: 0o644, data: text.into_bytes() });
    }
    let image = lab.folder.join("own-kernel.img");
    make_disk_with(&image, DISK_MIB, &lab.assets.guest_tests, extras)?;
    tool("tune2fs", &format!("-U {UUID}"), &image)?;
    let mut rig = start(lab, &image)?;
    let description = |more: &str| {
        format!(
            "boot = \"disk\"\n{more}cmdline = \"console=hvc0\"\nmemory = \"256M\"\n[[disk]]\nimage = \"/dev/vda\"\n"
        )
    };
    rig.write("/guest.toml", &description(""))?;
    let said = rig.control().check("lith create /guest.toml 2>&1; cat /run/lith/guest.log")?;
    ensure!(said.contains(&format!("boots `Linux {from}` of /boot/grub/grub.cfg on the disk")), "{said}");
    rig.at("guest", |at| {
        at.boot()?;
        let mut shell = at.shell();
        runs(&mut shell, &from)?;
        let command_line = shell.check("cat /proc/cmdline")?;
        ensure!(command_line == format!("root=UUID={UUID} quiet console=hvc0"), "booted with {command_line}");
        shell.check("cp /root/upgraded.cfg /boot/grub/grub.cfg && sync").map(drop)
    })?;
    rig.lith("reboot guest")?;
    rig.at("guest", |at| {
        at.boot()?;
        runs(&mut at.shell(), &to)
    })?;
    ensure!(
        rig.lith("info guest")?.contains("of its first disk, as its boot loader has it"),
        "lith info guest"
    );
    let error = rig.refused("create /guest.toml")?;
    ensure!(error.contains("there is a guest guest already"), "{error}");
    rig.control().check("lith shutdown --wait guest")?;
    // Back to the kernel before, by its name.
    rig.create("guest", &description("boot_entry = \"other\"\n"))?;
    rig.at("guest", |at| {
        at.boot()?;
        runs(&mut at.shell(), &from)
    })?;
    rig.lith("shutdown --wait guest")?;
    refused(&mut rig, &description("boot_entry = \"gone\"\n"))?;
    rig.power_off()?;
    check_and_remove(&image)
}

/// The machine: its control domain owns the disk, and serves it.
pub fn start(lab: &Lab, image: &Path) -> Result<Rig> {
    let series = Series::V6_12;
    let mut setup = lab.linux(series)?.bootarg("quiet").option("loglvl=warn");
    setup.memory_mib = 2048;
    setup.initrd = Some(control_file(&lab.assets.output, series));
    setup.disks.push(Disk::raw(image.to_path_buf(), DiskBus::MmioSlot(0)));
    let mut rig = Rig::start(lab, &setup)?;
    rig.control().check("(lithd serve 2>>/tmp/lithd.log &)")?;
    Ok(rig)
}

/// The guest runs that kernel, and has its modules.
fn runs(shell: &mut system_tests::shell::Shell<'_>, release: &str) -> Result<()> {
    let found = shell.check("uname -r")?;
    ensure!(found == release, "it runs {found} and not {release}");
    shell.check("modprobe dummy && grep -q '^dummy ' /proc/modules").map(drop)
}

/// What cannot be booted says why, names the image, and leaves nothing.
fn refused(rig: &mut Rig, unknown_entry: &str) -> Result<()> {
    let on = |image: &str| format!("boot = \"disk\"\nmemory = \"16M\"\n[[disk]]\nimage = \"{image}\"\n");
    rig.control().check("truncate -s 8M /zeroes.img; head -c 40000000 /dev/vda >/cut.img")?;
    for (text, image, words) in [
        (unknown_entry.to_owned(), "/dev/vda", "there are: first, other"),
        (on("/zeroes.img"), "/zeroes.img", "there is no kernel"),
        (on("/cut.img"), "/cut.img", "unexpected end of file"),
        (on("/none.img"), "/none.img", "No such file"),
        (on("/dev/vda"), "/dev/vda", "more than the 16777216"),
    ] {
        rig.write("/bad.toml", &text)?;
        let line = rig.refused("create /bad.toml")?;
        ensure!(
            line.contains(words) && line.contains(image),
            "of {text:?} lith said {line:?} and not {words:?}"
        );
        rig.wait_for_domains(1)?;
    }
    Ok(())
}
