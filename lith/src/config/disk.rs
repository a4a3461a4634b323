//! The disks of a guest.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::reader::Table;
use super::{CONTROL_DOMAIN, MAX_DISKS, check_name};

/// The most queues of a disk.
const MAX_QUEUES: u16 = 16;
/// The longest serial number (virtio 1.2, 5.2.6).
const MAX_SERIAL: usize = 20;
/// The most files below a qcow2 image.
const MAX_BACKING: usize = 8;
/// Domain numbers behind this one are reserved.
const MAX_DOMAIN: u16 = 0x7fef;

const KEYS: [&str; 7] = ["image", "format", "read_only", "backend", "serial", "queues", "backing"];
const LAYER_KEYS: [&str; 2] = ["image", "format"];

/// How an image's bytes make a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The bytes are the disk.
    #[default]
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

impl Format {
    const NAMES: [&'static str; 2] = ["raw", "qcow2"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// The domain that serves a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Backend {
    /// By its number; the control domain's is 0.
    Number(u16),
    /// By its name.
    Name(String),
}

/// A file below a copy-on-write image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Path in the backend's domain.
    pub image: String,
    /// Its format.
    pub format: Format,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Path of the image in the backend's domain.
    pub image: String,
    /// Its format.
    pub format: Format,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// Who serves it.
    pub backend: Backend,
    /// Serial number that the guest sees; empty for none.
    pub serial: String,
    /// Request queues.
    pub queues: u16,
    /// The files below a qcow2 image, the nearest first.
    pub backing: Vec<Layer>,
}

/// Reads the disks. Those that do not say how many queues they have get one for each vCPU.
pub fn read(root: &Table<'_>, vcpus: u16) -> Result<Vec<Disk>, ConfigError> {
    let tables = root.tables("disk", &KEYS)?;
    if tables.len() > MAX_DISKS {
        return Err(root.bad("disk", format!("must be at most {MAX_DISKS} disks")));
    }
    tables.iter().map(|table| disk(table, vcpus)).collect()
}

fn disk(table: &Table<'_>, vcpus: u16) -> Result<Disk, ConfigError> {
    let format = format(table)?;
    let serial = table.text("serial")?.unwrap_or_default();
    if serial.len() > MAX_SERIAL || !serial.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(table.bad("serial", "must be at most 20 printable ASCII characters"));
    }
    Ok(Disk {
        image: image(table)?,
        format,
        read_only: table.truth("read_only")?.unwrap_or(false),
        backend: backend(table)?,
        serial,
        queues: table.number("queues", 1, MAX_QUEUES)?.unwrap_or(vcpus.clamp(1, MAX_QUEUES)),
        backing: backing(table, format)?,
    })
}

fn image(table: &Table<'_>) -> Result<String, ConfigError> {
    let image = table.text("image")?.ok_or_else(|| table.missing("image"))?;
    if !image.starts_with('/') || image.contains('\0') {
        return Err(table.bad("image", "must be an absolute path: the backend's domain opens it"));
    }
    Ok(image)
}

fn format(table: &Table<'_>) -> Result<Format, ConfigError> {
    match table.text("format")?.as_deref() {
        None | Some("raw") => Ok(Format::Raw),
        Some("qcow2") => Ok(Format::Qcow2),
        Some(other) => Err(table.no_choice("format", other, &Format::NAMES)),
    }
}

fn backend(table: &Table<'_>) -> Result<Backend, ConfigError> {
    if table.is_number("backend") {
        return Ok(Backend::Number(table.number("backend", 0, MAX_DOMAIN)?.unwrap_or(0)));
    }
    let Some(name) = table.text("backend")? else { return Ok(Backend::Number(0)) };
    if name == CONTROL_DOMAIN {
        return Ok(Backend::Number(0));
    }
    check_name(&name).map_err(|reason| table.bad("backend", format!("a domain's name {reason}")))?;
    Ok(Backend::Name(name))
}

fn backing(table: &Table<'_>, format: Format) -> Result<Vec<Layer>, ConfigError> {
    let mut above = format;
    let mut layers = Vec::new();
    for layer in table.tables("backing", &LAYER_KEYS)? {
        if above == Format::Raw {
            return Err(table.bad("backing", "a raw image has no file below it"));
        }
        above = self::format(&layer)?;
        layers.push(Layer { image: image(&layer)?, format: above });
    }
    if layers.len() > MAX_BACKING {
        return Err(table.bad("backing", "must be at most 8 files"));
    }
    Ok(layers)
}
