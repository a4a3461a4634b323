//! A Debian with systemd: what a package of ours is installed into.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::debian::{PrivateApt, Release};
use crate::disk_image;
use crate::kernel::Series;
use crate::paths;
use crate::process::step;

/// The system, and what the installation of a package with a unit needs.
const PACKAGES: [&str; 15] = [
    "systemd-sysv",
    "init-system-helpers",
    "bash",
    "coreutils",
    "diffutils",
    "dpkg",
    "grep",
    "sed",
    "gzip",
    "kmod",
    "libc-bin",
    "mount",
    "tar",
    "util-linux",
    "perl-base",
];

/// What no program reads.
const NEEDLESS: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];

/// Size of the root file system, most of which is a hole in its file.
const ROOT_MIB: u64 = 768;

/// The kernel that belongs to it.
pub const SERIES: Series = Series::V6_1;

/// The unit that starts `/usr/local/bin/session` on the console when the system is up.
const SESSION: &str = "\
[Unit]
Description=The session on the console
After=multi-user.target

[Service]
ExecStart=/usr/local/bin/session
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/hvc0
Environment=HOME=/root TERM=linux

[Install]
WantedBy=multi-user.target
";

/// An image of the root file system of a Debian 12, fetched and made unless it is there. It is not to be written. `session`
/// is the text of what runs on the console.
pub fn root(session: &str) -> Result<PathBuf> {
    let dir = paths::cache().join("systemd-12");
    paths::once(&dir, |partial| {
        let root = partial.join("root");
        PrivateApt::of_release(Release::Bookworm).unpack_with_dependencies(&PACKAGES, &root)?;
        step("Make a Debian with systemd", || {
            arrange(&root, session)?;
            disk_image::make_ext4(&partial.join("root.img"), ROOT_MIB, Some(&root))
        })?;
        Ok(fs::remove_dir_all(root)?)
    })?;
    Ok(dir.join("root.img"))
}

/// Makes unpacked packages a system that boots, as their installation would.
fn arrange(root: &Path, session: &str) -> Result<()> {
    for needless in NEEDLESS {
        let folder = root.join(needless);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let folders = ["dev", "mnt", "proc", "root", "run", "sys", "tmp", "usr/local/bin", "var/lib/dpkg/info"];
    for folder in folders.into_iter().chain(["var/lib/dpkg/updates", "var/log", "etc/systemd/system"]) {
        fs::create_dir_all(root.join(folder))?;
    }
    let sh = root.join("usr/bin/sh");
    if !sh.exists() && !sh.is_symlink() {
        symlink("bash", sh)?;
    }
    write(root, "var/lib/dpkg/status", "")?;
    write(root, "var/lib/dpkg/available", "")?;
    write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")?;
    write(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
    write(root, "etc/hostname", "debian\n")?;
    write(root, "etc/fstab", "")?;
    write(root, "etc/machine-id", "")?;
    let program = root.join("usr/local/bin/session");
    fs::write(&program, session)?;
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let units = root.join("etc/systemd/system");
    write(root, "etc/systemd/system/session.service", SESSION)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    symlink("../session.service", units.join("multi-user.target.wants/session.service"))?;
    // The console is the session's alone, and nothing is done that only a first boot needs.
    for unit in
        ["getty.target", "serial-getty@.service", "console-getty.service", "systemd-firstboot.service"]
    {
        symlink("/dev/null", units.join(unit))?;
    }
    let default = units.join("default.target");
    Ok(symlink("/usr/lib/systemd/system/multi-user.target", default)?)
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    Ok(fs::write(root.join(path), text)?)
}
