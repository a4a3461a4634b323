//! A disk as a kind of device: from its configuration to a device.

use std::time::Duration;

use super::Block;
use crate::config::DiskConfig;
use crate::core::device::Device;
use crate::devices::{Kind, KindError, Opened};
use crate::storage::open::{self, open};

/// How long to wait for an image that is in use: a guest that reboots leaves it only just before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Disks.
pub const KIND: Kind = Kind {
    device_id: DiskConfig::DEVICE_ID,
    name: "disk",
    check: |config| Ok(DiskConfig::from_blob(config).map(drop)?),
    open: |config| {
        let config = DiskConfig::from_blob(config)?;
        let files = open(&config, PATIENCE)?;
        Ok(Box::new(OpenedDisk { config, files }))
    },
};

/// A disk whose files are open, and nothing more.
struct OpenedDisk {
    config: DiskConfig,
    files: open::Opened,
}

impl Opened for OpenedDisk {
    fn start(self: Box<Self>, queues: Option<u16>) -> Result<(Box<dyn Device>, String), KindError> {
        let OpenedDisk { config, files } = *self;
        let queues = queues.map_or(config.queues, |queues| queues.clamp(1, crate::config::MAX_QUEUES));
        let mut block = Block::new(files.start()?, queues, &config.serial);
        if !config.discard {
            block = block.without_discards();
        }
        let text = format!(
            "serves {} ({}, {}, {queues} queue{}{})",
            config.image,
            config.format().name(),
            size(block.geometry().size),
            if queues == 1 { "" } else { "s" },
            if config.read_only { ", read-only" } else { "" },
        );
        Ok((Box::new(block), text))
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
    use crate::config::Format;

    #[test]
    fn a_configuration_becomes_a_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let config = DiskConfig::new(path, Format::Raw).to_blob().unwrap();
        for (wanted, queues, words) in
            [(None, 1, "1 queue"), (Some(4), 4, "4 queues"), (Some(100), 16, "16 queues")]
        {
            let (device, text) = (KIND.open)(&config).unwrap().start(wanted).unwrap();
            assert_eq!(text, format!("serves {path} (raw, 3 MiB, {words})"));
            assert_eq!((device.id(), device.queues()), (KIND.device_id, queues));
            let mut capacity = [0; 8];
            device.read_config(0, &mut capacity);
            assert_eq!(u64::from_le_bytes(capacity), (3 << 20) / 512);
        }
    }

    #[test]
    fn what_is_wrong_with_a_configuration_is_said() {
        let config = DiskConfig::new("/no/such/file", Format::Raw).to_blob().unwrap();
        assert!((KIND.check)(&config).is_ok(), "looks at no file");
        let error = (KIND.open)(&config).err().unwrap();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
        assert!((KIND.check)(b"{}").is_err() && (KIND.open)(b"{}").is_err());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([1536, 1 << 30, 512].map(size), ["1536 bytes", "1 GiB", "512 bytes"]);
    }
}
