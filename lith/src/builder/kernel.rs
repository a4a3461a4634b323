//! A guest's files: read, unpacked and checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bootdisk::process::{self, BootFiles, Order};
use bootdisk::unpack::{MAX_FILE, unpack};
use machine_model::image::ImageHeader;

use crate::config::{Boot, GuestConfig, MAX_COMMAND_LINE};

/// The files that a guest starts with.
#[derive(Clone, Debug)]
pub struct Files {
    /// The kernel, unpacked.
    pub kernel: Vec<u8>,
    /// What its header says.
    pub header: ImageHeader,
    /// The ramdisk, as it is.
    pub ramdisk: Option<Vec<u8>>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Which entry of the disk's boot loader they are of, for people; none if files of the control domain were named.
    pub entry: Option<String>,
}

impl Files {
    /// Reads a guest's files.
    ///
    /// # Errors
    ///
    /// Which file, and what is wrong with it.
    pub fn read(config: &GuestConfig) -> Result<Files> {
        match &config.boot {
            Boot::Files { kernel, ramdisk } => {
                let (kernel, header) = read_kernel(kernel)?;
                let ramdisk = ramdisk.as_deref().map(|path| read(path, "ramdisk")).transpose()?;
                Ok(Files { kernel, header, ramdisk, cmdline: config.cmdline.clone(), entry: None })
            }
            Boot::Disk { boot_entry } => Files::from_disk(config, boot_entry.as_deref()),
        }
    }

    /// Reads them from the first disk.
    fn from_disk(config: &GuestConfig, entry: Option<&str>) -> Result<Files> {
        let disk = config.devices.disks.first().context("`boot = \"disk\"`: there is no disk")?;
        let order =
            Order { disk: disk.config.clone(), entry: entry.map(str::to_owned), limit: config.memory };
        let found =
            process::read(disk_reader(), &order).context("cannot take the kernel from the guest's disk")?;
        let BootFiles { kernel, header, ramdisk, options, source } = found;
        let cmdline = [options.as_str(), config.cmdline.as_str()].join(" ").trim().to_owned();
        if cmdline.len() > MAX_COMMAND_LINE {
            bail!(
                "{source}: the command line, with `cmdline` behind it, has more than {MAX_COMMAND_LINE} bytes"
            );
        }
        Ok(Files { kernel, header, ramdisk, cmdline, entry: Some(source) })
    }
}

/// What starts the process that reads a guest's disk.
pub fn disk_reader() -> Command {
    // This program as it runs, also if its file was replaced by another version meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("read-boot-disk").env_clear();
    command
}

/// Reads a kernel in any of its forms; returns the plain one, and its header.
///
/// # Errors
///
/// The file, and what is wrong with it.
pub fn read_kernel(path: &Path) -> Result<(Vec<u8>, ImageHeader)> {
    unpack(read(path, "kernel")?, MAX_FILE).with_context(|| format!("kernel {}", path.display()))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let name = || format!("{what} {}", path.display());
    let file = File::open(path).with_context(name)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).with_context(name)?;
    if bytes.is_empty() || bytes.len() as u64 > MAX_FILE {
        bail!("{}: must have more than 0 bytes and at most 1 GiB", name());
    }
    Ok(bytes)
}

#[cfg(test)]
pub mod tests {
    /// An image of so many bytes that needs so many.
    pub fn image(bytes: usize, needs: u64) -> Vec<u8> {
        let mut image = vec![0; bytes];
        image[16..24].copy_from_slice(&needs.to_le_bytes());
        image[24..32].copy_from_slice(&0xau64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }
}
