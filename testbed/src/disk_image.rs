//! The guest's disk: an ext4 file system that holds a small system with a login.
//!
//! It is made without root: `mke2fs` fills it from a folder, and `debugfs` gives the files to their owner.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::host::{self, Need};
use crate::kernel;
use crate::process::{capture, find};
use crate::programs::Extra;

/// Folders of the system, parents first.
const FOLDERS: [&str; 15] = [
    "bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin",
    "usr/sbin", "var",
];

/// The system's own files: path, permissions, content.
const FILES: [(&str, u32, &[u8]); 9] = [
    ("etc/inittab", 0o644, include_bytes!("disk_image/inittab")),
    ("etc/rc", 0o755, include_bytes!("disk_image/rc")),
    ("etc/issue", 0o644, include_bytes!("disk_image/issue")),
    ("etc/hostname", 0o644, b"guest\n"),
    ("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, b"root:x:0:\n"),
    ("etc/profile", 0o644, b"export PATH=/sbin:/bin:/usr/sbin:/usr/bin PS1='guest# '\n"),
    ("etc/fstab", 0o644, b""),
    ("sbin/console-getty", 0o755, include_bytes!("disk_image/console-getty")),
];

/// Makes the disk's image, raw and sparse, of `mib` MiB; `extras` are added to the system.
pub fn make(image: &Path, mib: u64, extras: &[Extra]) -> Result<()> {
    host::ensure(&[Need::MKE2FS])?;
    let staging = image.with_added_extension("root");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    let made = stage(&staging, extras).and_then(|paths| {
        let partial = image.with_added_extension("partial");
        if partial.exists() {
            fs::remove_file(&partial)?;
        }
        make_ext4(&partial, mib, Some(&staging))?;
        give_to_root(&partial, &paths)?;
        Ok(fs::rename(&partial, image)?)
    });
    fs::remove_dir_all(&staging)?;
    made.with_context(|| format!("cannot make {}", image.display()))
}

/// Makes an ext4 file system of `mib` MiB in a new file, with the content of a folder.
pub fn make_ext4(image: &Path, mib: u64, content: Option<&Path>) -> Result<()> {
    host::ensure(&[Need::MKE2FS])?;
    let mut make = tool("mke2fs");
    // What is not written now, the guest would write in the background.
    make.args(["-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    if let Some(content) = content {
        make.arg("-d").arg(content);
    }
    capture(make.arg(image).arg(format!("{mib}M"))).map(|_| ())
}

/// Lays the system out in a folder; returns the paths in it.
fn stage(root: &Path, extras: &[Extra]) -> Result<Vec<PathBuf>> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    for (path, permissions, data) in FILES {
        write(root, path, permissions, data)?;
    }
    write(root, "bin/busybox", 0o755, &fs::read(kernel::busybox()?)?)?;
    symlink("busybox", root.join("bin/sh"))?;
    symlink("../bin/busybox", root.join("sbin/init"))?;
    for extra in extras {
        write(root, &extra.path, extra.permissions, &extra.data)?;
    }
    let mut paths = Vec::new();
    list(root, Path::new("/"), &mut paths)?;
    Ok(paths)
}

fn write(root: &Path, path: &str, permissions: u32, data: &[u8]) -> Result<()> {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap_or(root))?;
    fs::write(&file, data)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(permissions))?)
}

/// All that lies below a folder, as absolute paths with the folder as root.
fn list(folder: &Path, name: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = name.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &name, paths)?;
        }
        paths.push(name);
    }
    Ok(())
}

/// Makes root the owner of everything in an image.
fn give_to_root(image: &Path, paths: &[PathBuf]) -> Result<()> {
    let script = image.with_added_extension("owners");
    let mut commands = String::new();
    for path in paths.iter().map(|path| path.display()).chain([Path::new("/").display()]) {
        commands.push_str(&format!("sif \"{path}\" uid 0\nsif \"{path}\" gid 0\n"));
    }
    fs::write(&script, commands)?;
    let done = capture(tool("debugfs").arg("-w").arg("-f").arg(&script).arg(image));
    fs::remove_file(&script)?;
    done.map(|_| ())
}

/// A program of e2fsprogs, which a plain user's `PATH` may lack.
fn tool(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_holds_its_content_and_root_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        let (image, content) = (dir.path().join("image"), dir.path().join("content"));
        fs::create_dir_all(content.join("folder")).unwrap();
        write(&content, "folder/file with space", 0o640, b"text").unwrap();
        let mut paths = Vec::new();
        list(&content, Path::new("/"), &mut paths).unwrap();
        assert_eq!(paths, [Path::new("/folder/file with space"), Path::new("/folder")]);
        make_ext4(&image, 8, Some(&content)).unwrap();
        give_to_root(&image, &paths).unwrap();
        let ask = |request: &str| capture(tool("debugfs").args(["-R", request]).arg(&image)).unwrap();
        assert_eq!(ask("cat \"/folder/file with space\""), "text");
        let listed = ask("ls -p /folder");
        assert!(listed.contains("/100640/0/0/file with space/4/"), "{listed}");
    }
}
