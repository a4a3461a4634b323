//! The kernel of an image that the user brings: what its boot loader would start, by the code that `lith` takes it with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bootdisk::process::{BootFiles, Order, read};
use bootdisk::unpack::MAX_FILE;
use testbed::paths;
use testbed::qemu::{Disk, DiskFormat};
use virtio::config::{DiskConfig, Format};

/// What the image starts, in files.
#[derive(Debug, Default)]
pub struct OwnKernel {
    /// The plain kernel.
    pub kernel: PathBuf,
    /// Its ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// The command line that its boot loader would give.
    pub options: String,
    /// Bytes of both files.
    pub size: u64,
}

/// Looks for the kernel of an image, and says what is found. None: it has none that can be taken, so that the guest boots the
/// kernel of the other domains.
pub fn take(disk: &Disk) -> Result<Option<OwnKernel>> {
    let (name, image) = (disk.file.display(), std::path::absolute(&disk.file)?);
    let format = match disk.format {
        DiskFormat::Raw => Format::Raw,
        DiskFormat::Qcow2 => Format::Qcow2,
    };
    let image = image.to_str().with_context(|| format!("{name} is no UTF-8"))?;
    let order = Order { disk: DiskConfig::new(image, format), entry: None, limit: MAX_FILE };
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("read-boot-disk");
    match read(command, &order) {
        Ok(files) => {
            eprintln!("  The guest boots its own kernel, {}", files.source);
            keep(files).map(Some)
        }
        Err(error) => {
            eprintln!("  The guest boots Debian's kernel: no kernel of its own can be taken from {error:#}");
            Ok(None)
        }
    }
}

fn keep(files: BootFiles) -> Result<OwnKernel> {
    let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = paths::cache().join(super::folder()).join(name);
        paths::write_whole(&path, bytes)?;
        Ok(path)
    };
    let size = files.kernel.len().saturating_add(files.ramdisk.as_ref().map_or(0, Vec::len)) as u64;
    Ok(OwnKernel {
        kernel: write("own-kernel", &files.kernel)?,
        ramdisk: files.ramdisk.as_deref().map(|bytes| write("own-ramdisk", bytes)).transpose()?,
        options: files.options,
        size,
    })
}

impl OwnKernel {
    /// The kernel's command line, with the user's behind it.
    pub fn command_line(&self, user: &str) -> String {
        format!("{} {user}", self.options).trim().to_owned()
    }

    /// The files, for the guest.
    pub fn files(&self) -> (&Path, Option<&Path>) {
        (&self.kernel, self.ramdisk.as_deref())
    }
}
