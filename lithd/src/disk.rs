//! A disk: from what a job says to a device behind its registers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backend::Guest;
use virtio::devices::block::Block;
use virtio::storage::open::{Opened, open};
use virtio::transport::mmio::{Transport, registers};

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

    /// Puts the device in front of `guest`. Returns it with a description for people.
    ///
    /// # Errors
    /// The image cannot be used; the message says why.
    pub fn start(self, job: &Job, guest: Arc<dyn Guest>) -> Result<(Transport<Block>, String)> {
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
        let transport = Transport::new(block, guest, job.base, job.irq).context("cannot make the disk")?;
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
    use crate::job::tests::job;
    use backend::{Mmio, mock};

    #[test]
    fn a_job_becomes_a_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let job = job(path);
        let guest = Arc::new(mock::Guest::new(&job.banks()).unwrap());
        let (mut transport, text) = Disk::open(&job).unwrap().start(&job, guest).unwrap();
        assert_eq!(text, format!("serves {path} (raw, 3 MiB, 1 queues)"));
        assert_eq!(transport.read(0x200_0008, 4), 2, "a block device");
        assert_eq!(transport.read(0x200_0100, 8), (3 << 20) / 512);
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
