//! Unified kernel images (UAPI.5): an EFI program whose sections hold a kernel, its ramdisk and its command line.
//!
//! Whoever starts it without EFI takes the sections out of the file. What else is in it is left alone: device trees, since
//! a guest's machine has its own, signatures, and splash screens.

use anyhow::{Result, anyhow, bail};
use object::LittleEndian;
use object::pe::{IMAGE_FILE_MACHINE_ARM64, ImageDosHeader, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders;

/// Bytes from the start of a file in which its headers have to be.
pub const HEAD: usize = 64 << 10;
/// The longest text of a section.
pub const MOST_TEXT: u64 = 64 << 10;
/// The most sections that are looked at, which is what Windows takes.
const MOST_SECTIONS: usize = 96;

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// Where in the file its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// The kernel.
    pub linux: Section,
    /// The ramdisk.
    pub initrd: Option<Section>,
    /// The kernel's command line.
    pub cmdline: Option<Section>,
    /// What `os-release` says of the system.
    pub osrel: Option<Section>,
}

/// Reads the headers, which begin the file of `size` bytes. `None`: it is no unified kernel image, or one for other CPUs.
///
/// # Errors
///
/// It is damaged.
pub fn read(head: &[u8], size: u64) -> Result<Option<Sections>> {
    if !head.starts_with(b"MZ") {
        return Ok(None);
    }
    let damaged = |what: object::Error| anyhow!("it is no EFI program: {what}");
    let mut offset = u64::from(ImageDosHeader::parse(head).map_err(damaged)?.nt_headers_offset());
    let (headers, _) = ImageNtHeaders64::parse(head, &mut offset).map_err(damaged)?;
    if headers.file_header.machine.get(LittleEndian) != IMAGE_FILE_MACHINE_ARM64 {
        return Ok(None);
    }
    let table = headers.sections(head, offset).map_err(damaged)?;
    if table.len() > MOST_SECTIONS {
        bail!("it has {} sections, and {MOST_SECTIONS} are the most", table.len());
    }
    let [mut linux, mut initrd, mut cmdline, mut osrel] = [None; 4];
    let mut profiles = 0;
    for section in table.iter() {
        let place = match section.raw_name() {
            b".linux" => &mut linux,
            b".initrd" => &mut initrd,
            b".cmdline" => &mut cmdline,
            b".osrel" => &mut osrel,
            // What stands behind the first one is of the profile that is started by itself, and before what all have.
            b".profile" if profiles == 0 => {
                profiles = 1;
                continue;
            }
            b".profile" => break,
            _ => continue,
        };
        let (start, bytes) = section.pe_file_range();
        let found = Section { start: start.into(), size: bytes.into() };
        if found.end() > size {
            bail!(
                "its section {} is {bytes} bytes from byte {start} on, and the file has {size}",
                String::from_utf8_lossy(section.raw_name())
            );
        }
        *place = Some(found);
    }
    let Some(linux) = linux else { return Ok(None) };
    let sections = Sections { linux, initrd, cmdline, osrel };
    sections.lie_apart()?;
    Ok(Some(sections))
}

impl Section {
    /// The byte behind it.
    fn end(&self) -> u64 {
        // Both came out of 32 bits.
        self.start.saturating_add(self.size)
    }
}

impl Sections {
    /// # Errors
    ///
    /// Two of them share bytes, so that one is not what it should be.
    fn lie_apart(&self) -> Result<()> {
        let mut all: Vec<(&str, Section)> = [
            (".linux", Some(self.linux)),
            (".initrd", self.initrd),
            (".cmdline", self.cmdline),
            (".osrel", self.osrel),
        ]
        .into_iter()
        .filter_map(|(name, section)| Some((name, section.filter(|section| section.size != 0)?)))
        .collect();
        all.sort_by_key(|(_, section)| section.start);
        for pair in all.windows(2) {
            if let [(one, first), (other, second)] = pair
                && first.end() > second.start
            {
                bail!("its sections {one} and {other} overlap");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
