//! What a disk's device slot says: the configuration that the control domain writes and the backend reads.
//!
//! It travels as JSON. Unknown keys and values out of range are errors that name the key: a backend that half
//! understands a configuration would serve another disk than the one that was meant.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The most queues that a disk may have.
pub const MAX_QUEUES: u16 = 16;
/// Bytes of a serial number, as GET_ID returns it (virtio 1.2, 5.2.6).
pub const SERIAL_LEN: usize = 20;
/// The longest chain of backing files.
pub const MAX_BACKING: usize = 8;

/// How an image's bytes make a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The bytes are the disk: a plain file or a block device.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl Format {
    /// The name, as it stands in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// One file below a copy-on-write image. It is only ever read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Path in the backend's domain.
    pub image: String,
    /// The file's format. `None`: raw, unless its signature says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

impl Layer {
    /// The format that it is taken to have.
    pub fn format(&self) -> Format {
        self.format.unwrap_or_default()
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// Path of the image in the backend's domain, absolute.
    pub image: String,
    /// The image's format. `None`: raw, unless its signature says another, which is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the guest may give bytes up, which become holes in the image's file.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub discard: bool,
    /// Request queues, 1 to [`MAX_QUEUES`]; one for each vCPU is a good number.
    #[serde(default = "one")]
    pub queues: u16,
    /// Serial number that the guest sees, up to [`SERIAL_LEN`] bytes of printable ASCII.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// The files below a qcow2 image, the nearest first. Names in an image's own header are never followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing: Vec<Layer>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON of the right shape.
    #[error("the configuration cannot be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A key's value is out of range.
    #[error("{key}: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn one() -> u16 {
    1
}

fn yes() -> bool {
    true
}

/// For serde, which passes references.
fn is_yes(value: &bool) -> bool {
    *value
}

impl DiskConfig {
    /// What virtio calls a device with such a configuration: a block device (virtio 1.2, 5).
    pub const DEVICE_ID: u32 = 2;

    /// A writable disk with one queue.
    pub fn new(image: impl Into<String>, format: impl Into<Option<Format>>) -> DiskConfig {
        DiskConfig {
            image: image.into(),
            format: format.into(),
            read_only: false,
            discard: true,
            queues: 1,
            serial: String::new(),
            backing: Vec::new(),
        }
    }

    /// The format that the image is taken to have.
    pub fn format(&self) -> Format {
        self.format.unwrap_or_default()
    }

    /// Reads a slot's configuration. Zero bytes behind it are ignored.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn from_blob(blob: &[u8]) -> Result<DiskConfig, ConfigError> {
        let end = blob.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
        let config: DiskConfig = serde_json::from_slice(blob.get(..end).unwrap_or_default())?;
        config.check()?;
        Ok(config)
    }

    /// Writes a slot's configuration.
    ///
    /// # Errors
    /// [`ConfigError::Value`]
    pub fn to_blob(&self) -> Result<Vec<u8>, ConfigError> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    /// Whether every value is in range.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, reason| Err(ConfigError::Value { key, reason });
        if !is_path(&self.image) {
            return refuse("image", "must be an absolute path");
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return refuse("queues", "must be from 1 to 16");
        }
        if self.serial.len() > SERIAL_LEN || !self.serial.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return refuse("serial", "must be at most 20 printable ASCII characters");
        }
        if self.backing.len() > MAX_BACKING {
            return refuse("backing", "must be at most 8 files");
        }
        if !self.backing.iter().all(|layer| is_path(&layer.image)) {
            return refuse("backing", "every image must be an absolute path");
        }
        let above = std::iter::once(self.format()).chain(self.backing.iter().map(Layer::format));
        if above.take(self.backing.len()).any(|format| format == Format::Raw) {
            return refuse("backing", "a raw image has no backing file");
        }
        Ok(())
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0')
}
