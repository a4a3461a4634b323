//! The first domain's initial file system: busybox, the modules that tests need, our programs, and an init
//! that gives a shell on the console.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::assets::{Assets, Linux};
use crate::shell::READY;

/// Modules that tests need, by name. One that the kernel has built in is simply not found among its files.
const MODULES: [&str; 9] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "xen_privcmd",
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "xenfs",
];

/// Mounts what programs need, loads the modules, and gives a shell whose echo is off on the console.
///
/// Modules of Xen's devices do not load without a hypervisor; that is no error.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
for module in $(cat /modules/order); do insmod /modules/$module 2>/dev/null; done
stty -echo
dmesg -n 1
export PS1= PS2= HOME=/ PATH=/bin
echo "@READY@"
setsid -c sh
poweroff -f
"#;

/// Builds the initial file system for `linux` as the file `at`.
pub fn build(assets: &Assets, linux: &Linux, at: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules"] {
        archive.add(folder, ModeFileType::Directory, 0o755, &[])?;
    }
    archive.program("init", INIT.replace("@READY@", READY).as_bytes())?;
    archive.program("bin/busybox", &read(&assets.busybox)?)?;
    archive.program("bin/guest-tests", &read(&assets.guest_tests)?)?;
    let mut order = String::new();
    for (name, content) in modules(&linux.modules)? {
        archive.add(&format!("modules/{name}"), ModeFileType::Regular, 0o644, &content)?;
        order += &format!("{name}\n");
    }
    archive.add("modules/order", ModeFileType::Regular, 0o644, order.as_bytes())?;
    fs::write(at, trailer(archive.bytes)?).with_context(|| format!("writing {}", at.display()))
}

/// The modules that tests need and all that they depend on, in an order in which they load.
fn modules(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    find_modules(folder, &mut files).with_context(|| format!("modules below {}", folder.display()))?;
    let mut loaded = Vec::new();
    for name in MODULES {
        add_module(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn add_module(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let Some(file) = files.get(name) else { return Ok(()) };
    if loaded.iter().any(|(known, _)| known.strip_suffix(".ko") == Some(name)) {
        return Ok(());
    }
    let content = if file.extension().is_some_and(|extension| extension == "xz") {
        let unpacked = Command::new("xz").arg("-dc").arg(file).output().context("running xz")?;
        ensure!(unpacked.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&unpacked.stderr));
        unpacked.stdout
    } else {
        read(file)?
    };
    for dependency in dependencies(&content) {
        add_module(&dependency, files, loaded)?;
    }
    loaded.push((format!("{name}.ko"), content));
    Ok(())
}

/// Module files by module name, in which the kernel writes `_` for every `-`.
fn find_modules(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_modules(&entry.path(), found)?;
        } else if let Some((name, "ko" | "ko.xz")) = entry.file_name().to_str().and_then(|n| n.split_once('.')) {
            found.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// The modules that a module needs, by the `depends=` line of its `.modinfo` section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// A cpio archive in the form that the kernel unpacks.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.add(name, ModeFileType::Regular, 0o755, content)
    }

    fn add(&mut self, name: &str, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        use std::io::Write;
        self.entries += 1;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too big"))?;
        let mut writer = Builder::new(name)
            .ino(self.entries)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
            .write(&mut self.bytes, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let module = b"\x7fELF\0license=GPL\0depends=xen-privcmd,jbd2\0name=xenfs\0";
        assert_eq!(dependencies(module), ["xen_privcmd", "jbd2"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"no module").is_empty());
    }
}
