//! Where a guest's kernel comes from: the keys `kernel` and `ramdisk`, or `boot` and `boot_entry`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xenolith_abi::DomId;

use super::backend::Backend;
use super::error::ConfigError;
use super::kinds::Devices;
use super::reader::Table;

/// Where a guest's kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Boot {
    /// From files of the control domain.
    Files {
        /// The kernel: an arm64 `Image`, plain or compressed with gzip or zstd, or an EFI program that holds it so (zboot).
        kernel: PathBuf,
        /// The initial ramdisk.
        ramdisk: Option<PathBuf>,
    },
    /// From the guest's first disk, as its boot loader would take it.
    Disk {
        /// The boot loader's entry. None: the one that it starts by itself.
        boot_entry: Option<String>,
    },
}

impl Boot {
    /// The keys.
    pub(super) const KEYS: &'static [&'static str] = &["kernel", "ramdisk", "boot", "boot_entry"];

    /// Reads the keys; relative paths begin at `folder`.
    pub(super) fn read(table: &Table<'_>, folder: &Path, devices: &Devices) -> Result<Boot, ConfigError> {
        let [kernel, ramdisk] = [path(table, folder, "kernel")?, path(table, folder, "ramdisk")?];
        let boot_entry = table.text("boot_entry")?;
        match table.text("boot")?.as_deref() {
            None if boot_entry.is_some() => Err(table.bad("boot_entry", "goes with `boot = \"disk\"` only")),
            None => Ok(Boot::Files { kernel: kernel.ok_or_else(|| table.missing("kernel"))?, ramdisk }),
            Some("disk") if kernel.is_some() || ramdisk.is_some() => {
                Err(table.bad("boot", "takes the disk's kernel and ramdisk, so that `kernel` and `ramdisk` must go"))
            }
            Some("disk") => match devices.disks.first() {
                None => Err(table.bad("boot", "must have a `[[disk]]` to boot from")),
                Some(disk) if disk.backend == Backend::Number(DomId::CONTROL) => Ok(Boot::Disk { boot_entry }),
                Some(disk) => Err(table.bad("boot", format!(
                    "reads the first disk in the control domain, and {} has its image {}: serve it with `backend = 0`, or \
                     name a `kernel`",
                    disk.backend, disk.config.image
                ))),
            },
            Some(other) => Err(table.no_choice("boot", other, &["disk"])),
        }
    }
}

fn path(table: &Table<'_>, folder: &Path, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    if text.is_empty() || text.contains('\0') {
        return Err(table.bad(key, "must be a path"));
    }
    Ok(Some(folder.join(text)))
}
