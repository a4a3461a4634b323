//! The three Linux systems of the main job: control domain, driver domain, guest. Each is an initial file system.
//!
//! All are plain cpio archives: under emulation Linux unpacks one faster than it reads a disk or undoes a compression.
//! For the same reason the guest's kernel and ramdisk lie in the control domain's archive and not on a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::initramfs::Initramfs;

/// The usual guest of the control domain.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its kernel, in the control domain `/guest/kernel`.
    pub kernel: PathBuf,
    /// Its initial file system, in the control domain `/guest/ramdisk`.
    pub ramdisk: Option<PathBuf>,
    /// Its command line.
    pub bootargs: String,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Number of vCPUs.
    pub vcpus: u16,
    /// Number of disks, which the driver domain has from `/dev/vda` on.
    pub disks: usize,
}

/// A guest's file in the control domain, `/guest/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The guest's name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What `lith create` reads.
    pub text: String,
    /// Whether it says that the guest starts with the machine. One that does not is started behind those that do.
    pub autostart: bool,
}

/// Number of the domain that serves the guest's disk: the first that is started after the control domain.
pub const DRIVER_DOMAIN: u16 = 1;

/// The driver domain's command line: its console is the emulated UART, and its programs may serve any guest that the
/// hypervisor lets them (without that argument Linux allows one, which it would learn from xenstore), and may have large
/// pages when they ask for them. Its kernel stays where it was linked to: with KASLR each of its system calls would take
/// ten times as long on an emulated CPU that has no E0PD.
pub const DRIVER_BOOTARGS: &str =
    "console=ttyAMA0 quiet nokaslr xen_privcmd.unrestricted=1 transparent_hugepage=madvise";

/// How the driver domain calls its disk of this number, the first being 0.
pub fn driver_disk(number: usize) -> String {
    let letter = u8::try_from(number).ok().and_then(|number| b'a'.checked_add(number));
    format!("/dev/vd{}", char::from(letter.unwrap_or(b'?')))
}

impl Guest {
    /// Its description, with files as [`control`] places them.
    pub fn description(&self) -> Description {
        let Guest { ramdisk, bootargs, memory_mib, vcpus, disks, .. } = self;
        let ramdisk = if ramdisk.is_some() { "ramdisk = \"/guest/ramdisk\"\n" } else { "" };
        let mut text = format!(
            "# The guest of `cargo xtask run`.\n\
             name = \"guest\"\n\
             kernel = \"/guest/kernel\"\n\
             {ramdisk}\
             cmdline = {bootargs:?}\n\
             memory = \"{memory_mib}M\"\n\
             vcpus = {vcpus}\n\
             autostart = true\n"
        );
        for disk in (0..*disks).map(driver_disk) {
            text.push_str(&format!(
                "\n[[disk]]\nimage = \"{disk}\"\nformat = \"raw\"\nbackend = {DRIVER_DOMAIN}\n"
            ));
        }
        Description { name: "guest".to_owned(), text, autostart: true }
    }
}

/// Makes `base` the control domain: `lith`, the usual guest's files, and a screen that leads to a console. It starts the guests
/// of these descriptions, and shows the first one's console; its end is that of its guests first.
pub fn control(
    mut base: Initramfs,
    lith: &Path,
    guest: &Guest,
    descriptions: &[Description],
) -> Result<Initramfs> {
    base.file("bin/lith", 0o755, read(lith)?);
    base.folder("guest");
    base.file("guest/kernel", 0o644, read(&guest.kernel)?);
    if let Some(ramdisk) = &guest.ramdisk {
        base.file("guest/ramdisk", 0o644, read(ramdisk)?);
    }
    for Description { name, text, .. } in descriptions {
        base.file(&format!("guest/{name}.toml"), 0o644, text.clone().into_bytes());
    }
    base.file("etc/guests", 0o644, guests(descriptions).into_bytes());
    base.file("bin/session", 0o755, include_bytes!("roles/control-session").to_vec());
    base.file("etc/welcome", 0o644, include_bytes!("roles/control-welcome").to_vec());
    let first = descriptions.first().map_or("GUEST", |first| &first.name);
    let commands = include_str!("roles/control-commands").replace("GUEST", first);
    base.file("etc/commands", 0o644, commands.into_bytes());
    named(&mut base, "control", include_bytes!("roles/control-inittab"));
    Ok(base)
}

/// What the screen's shell reads of the guests.
fn guests(descriptions: &[Description]) -> String {
    let first = descriptions.first().map_or("", |first| &first.name);
    let marked = if descriptions.iter().any(|guest| guest.autostart) { "yes" } else { "" };
    let unmarked = descriptions.iter().filter(|guest| !guest.autostart);
    let unmarked: Vec<String> = unmarked.map(|guest| format!("/guest/{}.toml", guest.name)).collect();
    format!("FIRST={first}\nMARKED={marked}\nUNMARKED=\"{}\"\n", unmarked.join(" "))
}

/// Makes `base` the driver domain: `lithd`, which serves for ever.
pub fn driver(mut base: Initramfs, lithd: &Path) -> Result<Initramfs> {
    base.file("bin/lithd", 0o755, read(lithd)?);
    base.file("bin/serve", 0o755, include_bytes!("roles/driver-serve").to_vec());
    base.file("bin/quiet-shell", 0o755, include_bytes!("roles/driver-quiet-shell").to_vec());
    named(&mut base, "driver", include_bytes!("roles/driver-inittab"));
    Ok(base)
}

/// The guest's ramdisk: it loads what a virtio disk needs, and goes there.
pub fn guest(busybox: &Path, modules: Option<&Path>) -> Result<Initramfs> {
    Initramfs::to_disk(busybox, modules, include_bytes!("roles/guest-init"))
}

fn named(base: &mut Initramfs, name: &str, inittab: &[u8]) {
    base.file("etc/inittab", 0o644, inittab.to_vec());
    base.file("etc/hostname", 0o644, format!("{name}\n").into_bytes());
    base.file("etc/profile", 0o644, format!("export PATH=/bin PS1='{name}# '\n").into_bytes());
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_files_that_the_control_domain_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let guest = Guest {
            kernel: file("Image"),
            ramdisk: Some(file("cpio")),
            bootargs: "console=hvc0 quoted=\"a b\"".into(),
            memory_mib: 256,
            vcpus: 1,
            disks: 2,
        };
        let description = guest.description();
        let text = description.text.clone();
        assert!(text.contains(r#"cmdline = "console=hvc0 quoted=\"a b\"""#), "{text}");
        assert!(
            text.contains("/dev/vda") && text.contains("/dev/vdb") && !text.contains("/dev/vdc"),
            "{text}"
        );
        let unmarked = Description { name: "own".into(), text: "# its own".into(), autostart: false };
        let descriptions = [description, unmarked];
        let control = control(Initramfs::default(), &file("lith"), &guest, &descriptions).unwrap();
        let archive = control.to_cpio().unwrap();
        let archive = String::from_utf8_lossy(&archive);
        for part in ["guest/guest.toml\0", "guest/own.toml\0", "# its own", "lith console guest"] {
            assert!(archive.contains(part), "{part}");
        }
        assert!(archive.contains("FIRST=guest\nMARKED=yes\nUNMARKED=\"/guest/own.toml\"\n"));
        for line in text.lines().filter(|line| line.contains("\"/guest/")) {
            let path = line.split("\"/").nth(1).unwrap().trim_end_matches('"');
            assert!(archive.contains(&format!("{path}\0")), "{line}");
        }
    }
}
