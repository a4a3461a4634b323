//! A domain's initial file system: a cpio archive made in memory, so that no root is needed.
//!
//! It is the same for every boot of one kernel. What it does is chosen on the kernel's command line: `run=PROGRAM` runs
//! that program and powers off; without it a shell starts on the console.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::modules::{Module, ModuleTree};
use crate::programs::Extra;

/// Modules for disks, loaded in every boot.
const DISK_MODULES: [&str; 4] = ["virtio_mmio", "virtio_pci", "virtio_blk", "ext4"];
/// Modules that lead to a root on a disk of virtio-mmio.
const ROOT_MODULES: [&str; 3] = ["virtio_mmio", "virtio_blk", "ext4"];
/// Modules that load only on Xen's ABI.
const XEN_MODULES: [&str; 5] = ["xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs"];
/// Folders that the domain's init mounts on or writes to.
const FOLDERS: [&str; 12] =
    ["bin", "dev", "etc", "lib", "lib/modules", "mnt", "proc", "root", "run", "sys", "tmp", "var"];

const INIT: &[u8] = include_bytes!("initramfs/init");

// File types, as they stand in a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

struct Entry {
    path: String,
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

/// An initial file system in the making.
#[derive(Default)]
pub struct Initramfs {
    entries: Vec<Entry>,
}

impl Initramfs {
    /// Busybox, the modules of a kernel (none if `modules` is absent), and the init that this file's head describes.
    pub fn base(busybox: &Path, modules: Option<&Path>) -> Result<Self> {
        let mut fs = Self::with_init(busybox, INIT)?;
        if let Some(dir) = modules {
            let tree = ModuleTree::open(dir)?;
            let disk = tree.load_order(&DISK_MODULES)?;
            let mut xen = tree.load_order(&XEN_MODULES)?;
            xen.retain(|module| !disk.contains(module));
            fs.modules("disk", disk);
            fs.modules("xen", xen);
        }
        Ok(fs)
    }

    /// Busybox, an init that goes to a root on a disk, and the modules that it needs for that.
    pub fn to_disk(busybox: &Path, modules: Option<&Path>, init: &[u8]) -> Result<Self> {
        let mut fs = Self::with_init(busybox, init)?;
        let disk = match modules {
            Some(dir) => ModuleTree::open(dir)?.load_order(&ROOT_MODULES)?,
            None => Vec::new(),
        };
        fs.modules("disk", disk);
        Ok(fs)
    }

    fn with_init(busybox: &Path, init: &[u8]) -> Result<Self> {
        let mut fs = Initramfs::default();
        for folder in FOLDERS {
            fs.folder(folder);
        }
        fs.device("dev/console", 5, 1);
        let program = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
        fs.file("bin/busybox", 0o755, program);
        fs.link("bin/sh", "busybox");
        fs.file("init", 0o755, init.to_vec());
        Ok(fs)
    }

    /// Adds modules and the list, `lib/modules/NAME`, of their files in load order.
    pub fn modules(&mut self, list: &str, modules: Vec<Module>) {
        let mut order = String::new();
        for module in modules {
            let path = format!("lib/modules/{}.ko", module.name);
            order.push_str(&format!("/{path}\n"));
            self.file(&path, 0o644, module.data);
        }
        self.file(&format!("lib/modules/{list}"), 0o644, order.into_bytes());
    }

    /// Adds a folder; its parent must have been added before.
    pub fn folder(&mut self, path: &str) {
        self.add(path, DIRECTORY | 0o755, (0, 0), Vec::new());
    }

    /// Adds a file with the given permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, data: Vec<u8>) {
        self.add(path, REGULAR | permissions, (0, 0), data);
    }

    /// Adds files, and the folders above them that are missing. Where there is such a file, this one takes its place.
    pub fn extras(&mut self, extras: &[Extra]) {
        for extra in extras {
            let above = extra.path.match_indices('/').map(|(end, _)| &extra.path[..end]);
            for folder in above {
                if !self.has(folder) {
                    self.folder(folder);
                }
            }
            self.entries.retain(|entry| entry.path != extra.path);
            self.file(&extra.path, extra.permissions, extra.data.clone());
        }
    }

    /// Whether there is something of that name, without a leading `/`.
    pub fn has(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.add(path, LINK | 0o777, (0, 0), to.as_bytes().to_vec());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, CHARACTER_DEVICE | 0o600, (major, minor), Vec::new());
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) {
        self.entries.push(Entry { path: path.to_owned(), mode, device, data });
    }

    /// The archive, compressed with gzip. Equal contents give equal bytes.
    pub fn to_gzip(&self) -> Result<Vec<u8>> {
        Ok(self.write(GzEncoder::new(Vec::new(), Compression::fast()))?.finish()?)
    }

    /// The archive as it is: larger, and much faster to unpack under emulation. Equal contents give equal bytes.
    pub fn to_cpio(&self) -> Result<Vec<u8>> {
        self.write(Vec::new())
    }

    fn write<W: Write>(&self, mut writer: W) -> Result<W> {
        for (number, entry) in (1..).zip(&self.entries) {
            let size =
                u32::try_from(entry.data.len()).with_context(|| format!("{} is too large", entry.path))?;
            let mut file = Builder::new(&entry.path)
                .ino(number)
                .nlink(1)
                .mode(entry.mode)
                .rdev_major(entry.device.0)
                .rdev_minor(entry.device.1)
                .write(writer, size);
            file.write_all(&entry.data)?;
            writer = file.finish()?;
        }
        Ok(trailer(writer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn files_from_outside_bring_their_folders_and_replace_what_was_there() {
        let mut fs = Initramfs::default();
        fs.folder("bin");
        fs.file("bin/tool", 0o755, b"old".to_vec());
        let extra = |path: &str| Extra { path: path.into(), permissions: 0o640, data: b"new".to_vec() };
        fs.extras(&[extra("bin/tool"), extra("srv/images/one"), extra("srv/images/two")]);
        let paths: Vec<&str> = fs.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["bin", "bin/tool", "srv", "srv/images", "srv/images/one", "srv/images/two"]);
        assert!(fs.entries.iter().all(|entry| entry.mode & REGULAR == 0 || entry.data == b"new"));
        assert!(fs.has("srv/images") && !fs.has("srv/image"));
    }

    #[test]
    fn the_archive_reads_back() {
        let mut fs = Initramfs::default();
        fs.folder("bin");
        fs.file("bin/tool", 0o755, b"abc".to_vec());
        fs.link("bin/other", "tool");
        fs.device("console", 5, 1);
        let packed = fs.to_gzip().unwrap();
        assert_eq!(packed, fs.to_gzip().unwrap(), "not reproducible");
        let plain = fs.to_cpio().unwrap();

        let mut archive = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut archive).unwrap();
        assert_eq!(archive, plain);
        let mut rest = archive.as_slice();
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            let head = (entry.name().to_owned(), entry.mode(), entry.rdev_major(), entry.rdev_minor());
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            seen.push((head, data));
            rest = reader.finish().unwrap();
        }
        let expected = [
            (("bin".to_owned(), 0o040755, 0, 0), ""),
            (("bin/tool".to_owned(), 0o100755, 0, 0), "abc"),
            (("bin/other".to_owned(), 0o120777, 0, 0), "tool"),
            (("console".to_owned(), 0o020600, 5, 1), ""),
        ];
        assert_eq!(seen, expected.map(|(head, data)| (head, data.to_owned())));
    }
}
