//! A guest's files: read, unpacked and checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use machine_model::image::ImageHeader;

use crate::config::GuestConfig;

/// The largest kernel or ramdisk that is read, unpacked.
const MAX_FILE: u64 = 1 << 30;
/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What stands where the header of a kernel for another machine, or of another form, would have other things.
const ELF: [u8; 4] = *b"\x7fELF";
/// How an EFI program that unpacks itself says so, at byte 4.
const ZBOOT: [u8; 4] = *b"zimg";

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
        let path = &config.kernel;
        let kernel = read(path, "kernel")?;
        let (kernel, header) = unpack(kernel).with_context(|| format!("kernel {}", path.display()))?;
        let ramdisk = config.ramdisk.as_deref().map(|path| read(path, "ramdisk")).transpose()?;
        Ok(Files { kernel, header, ramdisk })
    }
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

/// The plain kernel and its header.
fn unpack(file: Vec<u8>) -> Result<(Vec<u8>, ImageHeader)> {
    let kernel = if file.starts_with(&GZIP) { gunzip(&file)? } else { file };
    if kernel.starts_with(&ELF) {
        bail!("it is an ELF file (vmlinux); take the file that is called Image, or vmlinuz");
    }
    if kernel.get(4..8) == Some(&ZBOOT) {
        bail!("it unpacks itself and needs EFI for that (EFI zboot); take the file that is called Image");
    }
    let header = ImageHeader::read(&kernel)?;
    Ok((kernel, header))
}

fn gunzip(file: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let decoder = MultiGzDecoder::new(file);
    decoder
        .take(MAX_FILE.saturating_add(1))
        .read_to_end(&mut plain)
        .context("it does not unpack with gzip")?;
    if plain.len() as u64 > MAX_FILE {
        bail!("it has more than 1 GiB when it is unpacked");
    }
    Ok(plain)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// An image of so many bytes that needs so many.
    pub fn image(bytes: usize, needs: u64) -> Vec<u8> {
        let mut image = vec![0; bytes];
        image[16..24].copy_from_slice(&needs.to_le_bytes());
        image[24..32].copy_from_slice(&0xau64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }

    #[test]
    fn a_kernel_may_be_compressed() {
        let plain = image(5000, 10000);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).unwrap();
        let (kernel, header) = unpack(packed.finish().unwrap()).unwrap();
        assert_eq!((kernel == plain, header.image_size), (true, Some(10000)));
    }

    #[test]
    fn what_is_no_kernel_says_what_it_is() {
        let says = |file: &[u8]| format!("{:#}", unpack(file.to_vec()).unwrap_err());
        assert!(says(b"\x7fELF rest").contains("vmlinux"));
        assert!(says(b"MZ\0\0zimg rest").contains("EFI zboot"));
        assert!(says(&[0x1f, 0x8b, 8, 0]).contains("does not unpack"));
        assert!(says(&[0; 100]).contains("no arm64 Image"));
    }
}
