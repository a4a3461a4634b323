//! Disks, and where they are attached.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::machine::escaped;

/// How many virtio-mmio slots the board has.
const MMIO_SLOTS: u32 = 32;
/// What a qcow2 image begins with.
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-mmio, in a slot that QEMU chooses.
    Mmio,
    /// virtio-mmio, in this slot: 0 to 31, in the order of their addresses.
    MmioSlot(u32),
    /// virtio-pci.
    Pci,
}

/// How an image holds its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// As they are.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl DiskFormat {
    /// The format of an image, by its first bytes.
    pub fn detect(image: &Path) -> Result<Self> {
        let mut file = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
        let mut first = [0; QCOW2_MAGIC.len()];
        // What is shorter than that is no qcow2 image either.
        let known = file.read_exact(&mut first).is_ok() && first == QCOW2_MAGIC;
        Ok(if known { DiskFormat::Qcow2 } else { DiskFormat::Raw })
    }

    /// QEMU's name for it.
    fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

/// A virtio disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The image.
    pub file: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// How it is attached.
    pub bus: DiskBus,
}

impl Disk {
    /// A disk with a raw image.
    pub fn raw(file: PathBuf, bus: DiskBus) -> Self {
        Disk { file, format: DiskFormat::Raw, bus }
    }

    /// Adds it to a command line as the disk of this number.
    pub(super) fn add_to(&self, command: &mut Command, number: usize) -> Result<()> {
        let device = match self.bus {
            DiskBus::Mmio => "virtio-blk-device".to_owned(),
            DiskBus::MmioSlot(slot) if slot < MMIO_SLOTS => {
                format!("virtio-blk-device,bus=virtio-mmio-bus.{slot}")
            }
            DiskBus::MmioSlot(slot) => bail!("there is no virtio-mmio slot {slot}: there are {MMIO_SLOTS}"),
            DiskBus::Pci => "virtio-blk-pci".to_owned(),
        };
        let (file, format) = (escaped(&self.file)?, self.format.name());
        command.arg("-drive").arg(format!("if=none,format={format},id=disk{number},file={file}"));
        command.arg("-device").arg(format!("{device},drive=disk{number}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::line_of;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        for (content, format) in [
            (b"QFI\xfb\0\0\0\x03".as_slice(), DiskFormat::Qcow2),
            (b"\0\0\0\0\0", DiskFormat::Raw),
            (b"QF", DiskFormat::Raw),
        ] {
            std::fs::write(&image, content).unwrap();
            assert_eq!(DiskFormat::detect(&image).unwrap(), format);
        }
        assert!(DiskFormat::detect(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn a_slot_is_named_and_must_exist() {
        let disk = |slot| Disk::raw("/image".into(), DiskBus::MmioSlot(slot));
        let mut command = Command::new("qemu");
        disk(31).add_to(&mut command, 2).unwrap();
        assert!(line_of(&command).ends_with("virtio-blk-device,bus=virtio-mmio-bus.31,drive=disk2"));
        assert!(disk(32).add_to(&mut command, 0).unwrap_err().to_string().contains("32"));
    }
}
