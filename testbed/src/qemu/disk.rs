//! Disks, and where they are attached.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use virtio::signature::Signature;

use super::machine::escaped;

/// How many virtio-mmio slots the board has.
const MMIO_SLOTS: u32 = 32;
/// Bytes of a disk's sector.
const SECTOR: u64 = 512;

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

impl FromStr for DiskFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = [DiskFormat::Raw, DiskFormat::Qcow2];
        known.into_iter().find(|format| format.name() == name).context("raw and qcow2 are known")
    }
}

impl DiskFormat {
    /// The format of an image that a user brings: the one that `said` names, or else what its first bytes tell.
    ///
    /// # Errors
    /// It cannot be opened, is neither raw nor qcow2 by its bytes, has not a single sector, or ends within one.
    pub fn of(image: &Path, said: Option<DiskFormat>) -> Result<Self> {
        let name = image.display();
        let file = File::open(image).with_context(|| format!("cannot open {name}"))?;
        let found = Signature::of_file(&file).with_context(|| format!("cannot read {name}"))?;
        let format = match (said, found) {
            (Some(said), _) => said,
            (None, None) => DiskFormat::Raw,
            (None, Some(Signature::Qcow2)) => DiskFormat::Qcow2,
            (None, Some(other)) => bail!("{name} is {other}; --disk-format raw takes it as it is"),
        };
        let size = file.metadata()?.len();
        if size == 0 && file.metadata()?.is_file() {
            bail!("{name} is empty: it has no system to start");
        }
        if format == DiskFormat::Raw && !size.is_multiple_of(SECTOR) {
            let whole = size.next_multiple_of(SECTOR);
            bail!(
                "{name} has {size} bytes, no multiple of {SECTOR}: `truncate -s {whole} {name}` fills it up"
            );
        }
        Ok(format)
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
    /// Bytes of its logical and its physical blocks. `None`: 512, as QEMU has it.
    pub block: Option<u32>,
}

impl Disk {
    /// A disk with a raw image.
    pub fn raw(file: PathBuf, bus: DiskBus) -> Self {
        Disk { file, format: DiskFormat::Raw, bus, block: None }
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
        let block =
            self.block.map(|block| format!(",logical_block_size={block},physical_block_size={block}"));
        command.arg("-device").arg(format!("{device},drive=disk{number}{}", block.unwrap_or_default()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::line_of;

    #[test]
    fn an_image_is_what_its_bytes_or_its_user_say() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let of = |start: &[u8], len: usize, said| {
            let mut bytes = start.to_vec();
            bytes.resize(len, 0);
            std::fs::write(&image, bytes).unwrap();
            DiskFormat::of(&image, said).map_err(|error| error.to_string())
        };
        assert_eq!(of(b"QFI\xfb\0\0\0\x03", 1000, None), Ok(DiskFormat::Qcow2));
        assert_eq!(of(b"", 1024, None), Ok(DiskFormat::Raw));
        assert_eq!(of(b"QF", 512, None), Ok(DiskFormat::Raw));
        let vmdk = of(b"KDMV", 1024, None).unwrap_err();
        assert!(vmdk.contains("VMDK") && vmdk.contains("qemu-img convert") && vmdk.contains("--disk-format"));
        assert_eq!(of(b"KDMV", 1024, Some(DiskFormat::Raw)), Ok(DiskFormat::Raw));
        assert!(of(b"", 0, None).unwrap_err().contains("is empty"));
        let odd = of(b"", 1000, Some(DiskFormat::Raw)).unwrap_err();
        assert!(odd.contains("1000 bytes") && odd.contains("truncate -s 1024"), "{odd}");
        assert!(DiskFormat::of(&dir.path().join("absent"), None).is_err());
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
