//! A disk: from what a job says to a device behind its registers.

use std::time::Duration;

use anyhow::{Result, ensure};
use virtio::devices::block::Block;
use virtio::storage::open::{Opened, open};
use virtio::transport::mmio::registers;

use crate::job::Job;

/// How long to wait for an image that is in use: a guest that reboots leaves it only just before.
const PATIENCE: Duration = Duration::from_secs(5);

/// A disk whose files are open, and nothing more.
pub struct Disk {
    files: Opened,
}

impl Disk {
    /// Opens what `job` names.
    ///
    /// # Errors
    /// A file cannot be used; the message says why.
    pub fn open(job: &Job) -> Result<Disk> {
        ensure!(
            job.size >= registers::WINDOW,
            "it has {} bytes of registers, a virtio-mmio device needs {}",
            job.size,
            registers::WINDOW,
        );
        Ok(Disk { files: open(&job.disk, PATIENCE)? })
    }

    /// Makes the device. Returns it with a description for people.
    ///
    /// # Errors
    /// The image cannot be used; the message says why.
    pub fn start(self, job: &Job) -> Result<(Block, String)> {
        let config = &job.disk;
        let mut block = Block::new(self.files.start()?, config.queues, &config.serial);
        if !config.discard {
            block = block.without_discards();
        }
        let text = format!(
            "serves {} ({}, {}, {} queues{})",
            config.image,
            config.format.name(),
            size(block.geometry().size),
            config.queues,
            if config.read_only { ", read-only" } else { "" },
        );
        Ok((block, text))
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
    use crate::job::tests::job;
    use virtio::core::device::Device as _;

    #[test]
    fn a_job_becomes_a_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let job = job(path);
        let (device, text) = Disk::open(&job).unwrap().start(&job).unwrap();
        assert_eq!(text, format!("serves {path} (raw, 3 MiB, 1 queues)"));
        assert_eq!(device.id(), 2, "a block device");
        let mut capacity = [0; 8];
        device.read_config(0, &mut capacity);
        assert_eq!(u64::from_le_bytes(capacity), (3 << 20) / 512);
    }

    #[test]
    fn what_is_wrong_with_a_job_is_said() {
        let said = |job: &Job| format!("{:#}", Disk::open(job).err().unwrap());
        assert!(said(&job("/no/such/file")).contains("/no/such/file: No such file"));
        assert!(said(&Job { size: 0x100, ..job("/d") }).contains("512"));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([1536, 1 << 30, 512].map(size), ["1536 bytes", "1 GiB", "512 bytes"]);
    }
}
