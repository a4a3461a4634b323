//! From an ELF file to the bytes that stand in memory: what `objcopy -O binary` does.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSegment};

/// An image larger than this is a mistake in the linker script, not an image.
const LARGEST: u64 = 64 << 20;

/// A flat image.
pub struct Flat {
    /// Address of the first byte, as linked.
    pub base: u64,
    /// The file-backed parts of all segments at their distances from `base`, gaps filled with zeroes.
    pub bytes: Vec<u8>,
}

/// Lays the file-backed parts of the loadable segments out in memory order.
pub fn flatten(elf: &ElfFile64<'_, LittleEndian>) -> Result<Flat> {
    let mut parts = Vec::new();
    for segment in elf.segments() {
        let data = segment.data().context("a segment lies outside the file")?;
        if !data.is_empty() {
            parts.push((segment.address(), data));
        }
    }
    parts.sort_by_key(|(address, _)| *address);
    let Some((base, _)) = parts.first().copied() else { bail!("the file has nothing to load") };
    let mut bytes = Vec::new();
    for (address, data) in parts {
        let offset = address - base;
        if offset > LARGEST {
            bail!("a segment at {address:#x} is {offset:#x} bytes away from the first");
        }
        let offset = usize::try_from(offset)?;
        if offset < bytes.len() {
            bail!("two segments overlap at {address:#x}");
        }
        bytes.resize(offset, 0);
        bytes.extend_from_slice(data);
    }
    Ok(Flat { base, bytes })
}

impl Flat {
    /// Where in the image the `size` bytes at `address` are.
    pub fn place_of(&self, address: u64, size: u64) -> Result<Range<usize>> {
        let start = address.checked_sub(self.base).context("it lies before the image")?;
        let start = usize::try_from(start)?;
        let end = start.checked_add(usize::try_from(size)?).context("it wraps")?;
        if end > self.bytes.len() {
            bail!(
                "{address:#x} to {:#x} is not in the file-backed part of the image",
                address.wrapping_add(size)
            );
        }
        Ok(start..end)
    }
}
