//! A guest's disks: the kind of device whose section is `[[disk]]`.

use backend::xen::slots::CONFIG_SIZE;
use serde::{Deserialize, Serialize};
use virtio::config::{DiskConfig, Format, Layer, MAX_BACKING, MAX_QUEUES, SERIAL_LEN};

use super::backend::Backend;
use super::error::ConfigError;
use super::kinds::{Device, Section};
use super::reader::Table;

const LAYER_KEYS: [&str; 2] = ["image", "format"];

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Who serves it.
    pub backend: Backend,
    /// What the backend is to know of it.
    pub config: DiskConfig,
}

impl Section for Disk {
    const KEY: &'static str = "disk";
    const KEYS: &'static [&'static str] =
        &["image", "format", "read_only", "backend", "serial", "queues", "backing"];
    const PLURAL: &'static str = "disks";
    const DEVICE_ID: u32 = DiskConfig::DEVICE_ID;

    fn subject(config: &[u8]) -> Option<String> {
        Some(DiskConfig::from_blob(config).ok()?.image)
    }

    /// One that does not say how many queues it has gets one for each vCPU.
    fn read(table: &Table<'_>, vcpus: u16) -> Result<Disk, ConfigError> {
        disk(table, vcpus)
    }
}

impl Device for Disk {
    fn device_id(&self) -> u32 {
        Disk::DEVICE_ID
    }

    fn label(&self) -> String {
        format!("disk {}", self.config.image)
    }

    fn nouns(&self) -> (&'static str, &'static str) {
        (Disk::KEY, Disk::PLURAL)
    }

    fn backend(&self) -> &Backend {
        &self.backend
    }

    fn to_blob(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.config.to_blob()?)
    }
}

fn disk(table: &Table<'_>, vcpus: u16) -> Result<Disk, ConfigError> {
    let format = format(table)?;
    let serial = table.text("serial")?.unwrap_or_default();
    if serial.len() > SERIAL_LEN || !serial.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(table.bad("serial", "must be at most 20 printable ASCII characters"));
    }
    let config = DiskConfig {
        read_only: table.bool("read_only")?.unwrap_or(false),
        queues: table.number("queues", 1, MAX_QUEUES)?.unwrap_or(vcpus.clamp(1, MAX_QUEUES)),
        serial,
        backing: backing(table, format.unwrap_or_default())?,
        ..DiskConfig::new(image(table)?, format)
    };
    let blob = config.to_blob().map_err(|error| table.bad("image", error.to_string()))?;
    if blob.len() > CONFIG_SIZE {
        let message = format!(
            "needs {} bytes in a device slot, which has {CONFIG_SIZE}; use shorter paths",
            blob.len()
        );
        return Err(table.bad("image", message));
    }
    Ok(Disk { backend: Backend::read(table)?, config })
}

fn image(table: &Table<'_>) -> Result<String, ConfigError> {
    let image = table.text("image")?.ok_or_else(|| table.missing("image"))?;
    if !image.starts_with('/') || image.contains('\0') {
        return Err(table.bad("image", "must be an absolute path: the backend's domain opens it"));
    }
    Ok(image)
}

/// The format, if the file names one.
fn format(table: &Table<'_>) -> Result<Option<Format>, ConfigError> {
    match table.text("format")?.as_deref() {
        None => Ok(None),
        Some("raw") => Ok(Some(Format::Raw)),
        Some("qcow2") => Ok(Some(Format::Qcow2)),
        Some(other) => Err(table.no_choice("format", other, &["raw", "qcow2"])),
    }
}

fn backing(table: &Table<'_>, format: Format) -> Result<Vec<Layer>, ConfigError> {
    let mut above = format;
    let mut layers = Vec::new();
    for layer in table.tables("backing", &LAYER_KEYS)? {
        if above == Format::Raw {
            return Err(table.bad("backing", "a raw image has no file below it"));
        }
        let format = self::format(&layer)?;
        above = format.unwrap_or_default();
        layers.push(Layer { image: image(&layer)?, format });
    }
    if layers.len() > MAX_BACKING {
        return Err(table.bad("backing", format!("must be at most {MAX_BACKING} files")));
    }
    Ok(layers)
}
