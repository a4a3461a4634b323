//! The three Linux systems of the main job: control domain, driver domain, guest. Each is an initial file system.
//!
//! All are plain cpio archives: under emulation Linux unpacks one faster than it reads a disk or undoes a compression.
//! For the same reason the guest's kernel and ramdisk lie in the control domain's archive and not on a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::initramfs::Initramfs;

/// The guest that the control domain starts.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initial file system.
    pub ramdisk: PathBuf,
    /// Its command line.
    pub bootargs: String,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
}

/// Number of the domain that serves the guest's disk: the first that is started after the control domain.
pub const DRIVER_DOMAIN: u16 = 1;

/// The driver domain's command line: its console is the emulated UART, and its programs may serve any guest that the
/// hypervisor lets them (without that argument Linux allows one, which it would learn from xenstore), and may have large
/// pages when they ask for them.
pub const DRIVER_BOOTARGS: &str =
    "console=ttyAMA0 quiet xen_privcmd.unrestricted=1 transparent_hugepage=madvise";

impl Guest {
    /// Its description for `lith create`, with files as [`control`] places them.
    pub fn description(&self) -> String {
        let Guest { bootargs, memory_mib, vcpus, .. } = self;
        format!(
            "# The guest of `cargo xtask run`.\n\
             name = \"guest\"\n\
             kernel = \"/guest/kernel\"\n\
             ramdisk = \"/guest/ramdisk\"\n\
             cmdline = {bootargs:?}\n\
             memory = \"{memory_mib}M\"\n\
             vcpus = {vcpus}\n\
             autostart = true\n\
             \n\
             [[disk]]\n\
             image = \"/dev/vda\"\n\
             format = \"raw\"\n\
             backend = {DRIVER_DOMAIN}\n"
        )
    }
}

/// Makes `base` the control domain: `lith`, the guest's files, and a screen that leads to its console. It starts the guest that is
/// marked for that, and its end is that of its guests first.
pub fn control(mut base: Initramfs, lith: &Path, guest: &Guest) -> Result<Initramfs> {
    base.file("bin/lith", 0o755, read(lith)?);
    base.folder("guest");
    base.file("guest/kernel", 0o644, read(&guest.kernel)?);
    base.file("guest/ramdisk", 0o644, read(&guest.ramdisk)?);
    base.file("guest/guest.toml", 0o644, guest.description().into_bytes());
    base.file("bin/session", 0o755, include_bytes!("roles/control-session").to_vec());
    base.file("etc/welcome", 0o644, include_bytes!("roles/control-welcome").to_vec());
    base.file("etc/commands", 0o644, include_bytes!("roles/control-commands").to_vec());
    named(&mut base, "control", include_bytes!("roles/control-inittab"));
    Ok(base)
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
            ramdisk: file("cpio"),
            bootargs: "console=hvc0 quoted=\"a b\"".into(),
            memory_mib: 256,
            vcpus: 1,
        };
        let text = guest.description();
        assert!(text.contains(r#"cmdline = "console=hvc0 quoted=\"a b\"""#), "{text}");
        let archive = control(Initramfs::default(), &file("lith"), &guest).unwrap().to_cpio().unwrap();
        let archive = String::from_utf8_lossy(&archive);
        for line in text.lines().filter(|line| line.contains("\"/guest/")) {
            let path = line.split("\"/").nth(1).unwrap().trim_end_matches('"');
            assert!(archive.contains(&format!("{path}\0")), "{line}");
        }
    }
}
