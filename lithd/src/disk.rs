//! A disk: from a slot's configuration to a device behind its registers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devicemodel::Guest;
use devicemodel::slots::Device;
use virtio::block::Block;
use virtio::config::DiskConfig;
use virtio::image::open::{Opened, open};
use virtio::mmio::{Transport, registers};

/// How long to wait for an image that is in use: a guest that reboots leaves it only just before.
const PATIENCE: Duration = Duration::from_secs(5);

/// A disk whose files are open, and nothing more.
pub struct Disk {
    config: DiskConfig,
    files: Opened,
}

impl Disk {
    /// Opens what the configuration of `device` names.
    ///
    /// # Errors
    /// The configuration or a file cannot be used; the message says why.
    pub fn open(device: &Device) -> Result<Disk> {
        ensure!(
            device.registers.size >= registers::WINDOW,
            "the slot has {} bytes of registers, a virtio-mmio device needs {}",
            device.registers.size,
            registers::WINDOW,
        );
        let config = DiskConfig::from_blob(&device.config)?;
        let files = open(&config, PATIENCE)?;
        Ok(Disk { config, files })
    }

    /// Puts the device in front of `guest`. Returns it with a description for people.
    ///
    /// # Errors
    /// The image cannot be used; the message says why.
    pub fn start(self, device: &Device, guest: Arc<dyn Guest>) -> Result<(Transport<Block>, String)> {
        let Disk { config, files } = self;
        let block = Block::new(files.start()?, config.queues, &config.serial);
        let text = format!(
            "serves {} ({}, {}, {} queues{})",
            config.image,
            config.format.name(),
            size(block.geometry().size),
            config.queues,
            if config.read_only { ", read-only" } else { "" },
        );
        let transport = Transport::new(block, guest, device.registers.base, device.irq)
            .context("cannot make the disk")?;
        Ok((transport, text))
    }
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or(format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicemodel::{Bank, Mmio, mock};
    use virtio::config::Format;

    fn device(config: Vec<u8>) -> Device {
        Device {
            guest: 3,
            backend: 1,
            kind: 1,
            irq: 33,
            registers: Bank { base: 0x200_0000, size: 0x200 },
            ram: vec![Bank { base: 0x4000_0000, size: 1 << 20 }],
            config,
        }
    }

    #[test]
    fn a_slot_becomes_a_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let device = device(DiskConfig::new(path, Format::Raw).to_blob().unwrap());
        let guest = Arc::new(mock::Guest::new(&device.ram).unwrap());
        let (mut transport, text) = Disk::open(&device).unwrap().start(&device, guest).unwrap();
        assert_eq!(text, format!("serves {path} (raw, 3 MiB, 1 queues)"));
        assert_eq!(transport.read(0x200_0008, 4), 2, "a block device");
        assert_eq!(transport.read(0x200_0100, 8), (3 << 20) / 512);
    }

    #[test]
    fn what_is_wrong_with_a_slot_is_said() {
        let said = |device: &Device| format!("{:#}", Disk::open(device).err().unwrap());
        assert!(said(&device(b"{}".to_vec())).contains("image"));
        assert!(
            said(&device(br#"{"image":"/no/such/file"}"#.to_vec())).contains("/no/such/file: No such file")
        );
        let mut small = device(Vec::new());
        small.registers.size = 0x100;
        assert!(said(&small).contains("512"));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([1536, 1 << 30, 512].map(size), ["1536 bytes", "1 GiB", "512 bytes"]);
    }
}
