//! `lith extract-kernel`.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};
use bootdisk::process::{self, Order};
use bootdisk::unpack::MAX_FILE;
use virtio::config::{DiskConfig, Format};

use crate::builder::disk_reader;
use crate::output::print;

/// Writes kernel, ramdisk and command line that a disk's boot loader would take into a folder, which is made if it is not there.
pub fn run(image: &Path, folder: &Path, format: Option<Format>, entry: Option<String>) -> Result<()> {
    let image = std::path::absolute(image)?;
    let path = image.to_str().context("the image's path is no UTF-8")?;
    let order = Order { disk: DiskConfig::new(path, format), entry, limit: MAX_FILE };
    let found = process::read(disk_reader(), &order)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, bytes: Option<&[u8]>| -> Result<()> {
        let path = folder.join(name);
        let written = match bytes {
            Some(bytes) => fs::write(&path, bytes),
            // What another image has had is not this one's.
            None => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        written.with_context(|| format!("cannot write {}", path.display()))
    };
    write("kernel", Some(&found.kernel))?;
    write("ramdisk", found.ramdisk.as_deref())?;
    write("cmdline", Some(format!("{}\n", found.options).as_bytes()))?;
    print(&format!("{}\n", found.source))
}
