//! A guest's files: read, unpacked and checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use machine_model::image::ImageHeader;

use crate::config::GuestConfig;

mod unpack;
use unpack::unpack;

/// The largest kernel or ramdisk that is read, unpacked.
const MAX_FILE: u64 = 1 << 30;

/// The files that a guest starts with.
#[derive(Clone, Debug)]
pub struct Files {
    /// The kernel, unpacked.
    pub kernel: Vec<u8>,
    /// What its header says.
    pub header: ImageHeader,
    /// The ramdisk, as it is.
    pub ramdisk: Option<Vec<u8>>,
}

impl Files {
    /// Reads a guest's files.
    ///
    /// # Errors
    ///
    /// Which file, and what is wrong with it.
    pub fn read(config: &GuestConfig) -> Result<Files> {
        let (kernel, header) = read_kernel(&config.kernel)?;
        let ramdisk = config.ramdisk.as_deref().map(|path| read(path, "ramdisk")).transpose()?;
        Ok(Files { kernel, header, ramdisk })
    }
}

/// Reads a kernel in any of its forms; returns the plain one, and its header.
///
/// # Errors
///
/// The file, and what is wrong with it.
pub fn read_kernel(path: &Path) -> Result<(Vec<u8>, ImageHeader)> {
    unpack(read(path, "kernel")?).with_context(|| format!("kernel {}", path.display()))
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
