//! Debian as a control domain: Xen's own tools, unmodified, with Debian's wrappers and init scripts around them.
//!
//! One root file system for each version of the tools. It holds what Debian's packages hold, and nothing of ours: what a
//! machine runs in it comes from another disk.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian::{PrivateApt, Release};
use crate::disk_image;
use crate::kernel::Series;
use crate::paths;
use crate::process::step;

/// A version of Xen whose tools Debian has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Debian 12's.
    V4_17,
    /// Debian 13's.
    V4_20,
}

/// The tools themselves, for each version by its name, and what a control domain needs beside them: `ip` for bridges,
/// `losetup`, `choom`, `awk` and `mount` for Debian's scripts, `start-stop-daemon` and the functions of init scripts; and
/// libvirt, which rules guests by the same libraries.
const PACKAGES: [&str; 18] = [
    "xenstore-utils",
    "bash",
    "coreutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "hostname",
    "init-system-helpers",
    "iproute2",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon-driver-xen",
    "mawk",
    "mount",
    "sed",
    "sysvinit-utils",
    "util-linux",
];

/// What no program reads.
const NEEDLESS: [&str; 5] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"];

/// Size of the root file system, most of which is a hole in its file.
const ROOT_MIB: u64 = 1024;

impl Version {
    /// All of them.
    pub const ALL: [Version; 2] = [Version::V4_17, Version::V4_20];

    /// The release of Debian that has it.
    pub fn release(self) -> Release {
        match self {
            Version::V4_17 => Release::Bookworm,
            Version::V4_20 => Release::Trixie,
        }
    }

    /// That release's kernel.
    pub fn series(self) -> Series {
        match self {
            Version::V4_17 => Series::V6_1,
            Version::V4_20 => Series::V6_12,
        }
    }

    /// An image of the root file system with these tools, fetched and made unless it is there. It is not to be written.
    pub fn root(self) -> Result<PathBuf> {
        let dir = paths::cache().join(format!("tools-{self}"));
        paths::once(&dir, |partial| {
            let (root, tools) = (partial.join("root"), format!("xen-utils-{self}"));
            let packages: Vec<&str> = [tools.as_str()].into_iter().chain(PACKAGES).collect();
            PrivateApt::of_release(self.release()).unpack_with_dependencies(&packages, &root)?;
            step(&format!("Make the control domain with the tools of Xen {self}"), || {
                arrange(&root)?;
                disk_image::make_ext4(&partial.join("root.img"), ROOT_MIB, Some(&root))
            })?;
            Ok(fs::remove_dir_all(root)?)
        })?;
        Ok(dir.join("root.img"))
    }

    /// Debian's own Xen of this version, fetched unless it is there: what the tools' answers are compared with.
    pub fn xen(self) -> Result<PathBuf> {
        let dir = paths::cache().join(format!("xen-{self}"));
        paths::once(&dir, |partial| {
            let unpacked = partial.join("package");
            let package = format!("xen-hypervisor-{self}-arm64");
            PrivateApt::of_release(self.release()).unpack(&package, |_| true, &unpacked)?;
            let image = unpacked.join(format!("boot/xen-{self}-arm64"));
            fs::rename(&image, partial.join("xen")).with_context(|| format!("{package} holds no image"))?;
            Ok(fs::remove_dir_all(unpacked)?)
        })?;
        Ok(dir.join("xen"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V4_17 => "4.17",
            Version::V4_20 => "4.20",
        })
    }
}

/// Makes unpacked packages a root file system.
fn arrange(root: &Path) -> Result<()> {
    for needless in NEEDLESS {
        let folder = root.join(needless);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    for folder in ["dev", "given", "mnt", "proc", "run", "sys", "tmp", "var/log/xen/console", "var/lib/xen"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for (link, to) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
        let link = root.join(link);
        if !link.is_symlink() {
            if link.exists() {
                fs::remove_dir_all(&link)?;
            }
            std::os::unix::fs::symlink(to, link)?;
        }
    }
    // The installation of the packages would make these links.
    for (link, to) in [("sh", "bash"), ("awk", "mawk")] {
        let link = root.join("usr/bin").join(link);
        if !link.exists() {
            std::os::unix::fs::symlink(to, link)?;
        }
    }
    // libvirt's daemon ends without a user for QEMU, which the installation of its package would make too.
    let names =
        "root:x:0:0:root:/root:/bin/bash\nlibvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n";
    fs::write(root.join("etc/passwd"), names)?;
    Ok(fs::write(root.join("etc/group"), "root:x:0:\nkvm:x:102:\nlibvirt-qemu:x:64055:\n")?)
}
