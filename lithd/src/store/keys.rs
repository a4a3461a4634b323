//! What the keys of a device say, for its process.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use virtio::config::{DiskConfig, Format, SERIAL_LEN};
use virtio::transport::mmio::registers;

use super::place::{Kind, Place};
use crate::job::Job;

/// Keys that are looked at, at most; libxl writes half as many.
pub const MANY: usize = 64;

/// The type of a generic device that is a disk: virtio's number for block devices is 2.
const BLOCK: &str = "virtio,device2";

/// The keys of a device.
pub type Keys = BTreeMap<String, String>;

/// What to do for a device. `disk` says what the disk is where the keys do not.
///
/// # Errors
/// A key is missing, or its value is of no use here.
pub fn job(place: &Place, keys: &Keys, disk: impl FnOnce() -> Result<DiskConfig>) -> Result<Job> {
    let word = |name: &str| keys.get(name).map(String::as_str);
    let must_be = |name: &str, value: &str| {
        let found = word(name);
        ensure!(
            found.is_none_or(|found| found == value),
            "{name} is {:?}, not {value:?}",
            found.unwrap_or("")
        );
        Ok(())
    };
    must_be("frontend-id", &place.guest.to_string())?;
    must_be("transport", "mmio")?;
    must_be("specification", "virtio")?;
    let base = number(keys, "base")?;
    let irq = u32::try_from(number(keys, "irq")?).context("irq is no interrupt")?;
    let (disk, queue_each) = match place.kind {
        Kind::Disk => {
            must_be("type", "standalone")?;
            (of_keys(keys)?, true)
        }
        Kind::Generic => {
            must_be("type", BLOCK)?;
            (disk()?, false)
        }
    };
    disk.check()?;
    let size = registers::WINDOW;
    let name = place.to_string();
    Ok(Job { name, guest: place.guest, base, size, irq, ram: Vec::new(), disk, queue_each })
}

/// The disk of keys that libxl writes for `disk=`.
fn of_keys(keys: &Keys) -> Result<DiskConfig> {
    let word = |name: &str| keys.get(name).map(String::as_str);
    let image = word("params").context("params, the image's path, is missing")?;
    let mut disk = DiskConfig::new(image, Format::Raw);
    disk.read_only = match word("mode") {
        Some("w") => word("device-type") == Some("cdrom"),
        Some("r") => true,
        other => anyhow::bail!("mode is {:?}, neither \"r\" nor \"w\"", other.unwrap_or("")),
    };
    disk.discard = word("discard-enable") != Some("0");
    // So that a guest can tell its disks apart by the names in its configuration.
    let serial = word("dev").unwrap_or("").bytes().filter(|byte| (0x20..0x7f).contains(byte));
    disk.serial = serial.take(SERIAL_LEN).map(char::from).collect();
    Ok(disk)
}

/// A number as libxl writes it: decimal, or in newer versions also hexadecimal with `0x`.
fn number(keys: &Keys, name: &str) -> Result<u64> {
    let text = keys.get(name).with_context(|| format!("{name} is missing"))?;
    let read = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    };
    read.with_context(|| format!("{name} is {text:?}, no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DISK: Place = Place { kind: Kind::Disk, guest: 1, device: 51712 };
    const GENERIC: Place = Place { kind: Kind::Generic, guest: 1, device: 0 };

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// As libxl 4.17 writes them.
    fn disk() -> Keys {
        keys(&[
            ("frontend", "/local/domain/1/device/virtio_disk/51712"),
            ("params", "/images/a.img"),
            ("frontend-id", "1"),
            ("online", "1"),
            ("removable", "0"),
            ("bootable", "1"),
            ("state", "1"),
            ("dev", "xvda"),
            ("type", "standalone"),
            ("mode", "w"),
            ("device-type", "disk"),
            ("discard-enable", "1"),
            ("specification", "virtio"),
            ("transport", "mmio"),
            ("base", "33554432"),
            ("irq", "33"),
        ])
    }

    fn none() -> Result<DiskConfig> {
        anyhow::bail!("nobody says")
    }

    #[test]
    fn the_keys_of_a_disk_are_a_job() {
        let job = job(&DISK, &disk(), none).unwrap();
        assert_eq!((job.guest, job.base, job.size, job.irq), (1, 0x200_0000, 0x200, 33));
        assert_eq!((job.disk.image.as_str(), job.disk.serial.as_str()), ("/images/a.img", "xvda"));
        assert!(!job.disk.read_only && job.disk.discard && job.queue_each && job.ram.is_empty());
        let with = |name: &str, value: &str| {
            let mut keys = disk();
            keys.insert(name.into(), value.into());
            super::job(&DISK, &keys, none).unwrap().disk
        };
        assert!(with("mode", "r").read_only && with("device-type", "cdrom").read_only);
        assert!(!with("discard-enable", "0").discard);
        assert_eq!(with("dev", "x\u{e9}\nvda").serial, "xvda");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("params", "relative.img"),
            ("params", ""),
            ("frontend-id", "2"),
            ("type", "qdisk"),
            ("specification", "xen"),
            ("transport", "pci"),
            ("mode", "rw"),
            ("base", "0x"),
            ("base", "+5"),
            ("base", "0x+5"),
            ("base", "99999999999999999999"),
            ("irq", "4294967296"),
            ("irq", "-1"),
        ] {
            let mut keys = disk();
            keys.insert(name.into(), value.into());
            let said = format!("{:#}", job(&DISK, &keys, none).unwrap_err());
            let word = if name == "params" { "image" } else { name };
            assert!(said.contains(word), "{name}={value}: {said}");
        }
        for name in ["params", "base", "irq", "mode"] {
            let mut keys = disk();
            keys.remove(name);
            let said = format!("{:#}", job(&DISK, &keys, none).unwrap_err());
            assert!(said.contains(name), "{name}: {said}");
        }
    }

    #[test]
    fn a_generic_device_is_a_disk_that_somebody_else_describes() {
        let generic = [("irq", "33"), ("base", "0x2000000"), ("type", BLOCK), ("transport", "mmio")];
        let config = || Ok(DiskConfig { queues: 3, ..DiskConfig::new("/q", Format::Qcow2) });
        let job = job(&GENERIC, &keys(&generic), config).unwrap();
        assert_eq!((job.base, job.disk.queues, job.queue_each), (0x200_0000, 3, false));
        assert!(super::job(&GENERIC, &keys(&generic), none).is_err());
        let other = [("irq", "33"), ("base", "0x2000000"), ("type", "virtio,device26")];
        assert!(super::job(&GENERIC, &keys(&other), config).unwrap_err().to_string().contains("device26"));
    }

    proptest! {
        #[test]
        fn any_keys_are_a_job_or_an_error(
            odd in prop::collection::btree_map("params|base|irq|mode|type|dev|state|.{0,4}", ".{0,30}", 0..8),
        ) {
            let all = disk().into_iter().chain(odd.clone()).collect();
            let _ = job(&DISK, &odd, none);
            if let Ok(job) = job(&DISK, &all, none) {
                prop_assert!(Job::from_text(&job.to_text().unwrap()).is_ok_and(|back| back == job));
            }
        }
    }
}
