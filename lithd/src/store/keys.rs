//! What the keys of a device say, for its process.

use std::collections::BTreeMap;
use xenolith_abi::Intid;

use anyhow::{Context, Result, ensure};
use virtio::config::{DiskConfig, SERIAL_LEN};
use virtio::devices::Kind as DeviceKind;
use virtio::transport::mmio::registers;

use super::place::{Kind, Place};
use crate::job::Job;
use crate::kinds;

/// Keys that are looked at, at most; libxl writes half as many.
pub const MANY: usize = 64;

/// What the type of a generic device begins with. Virtio's number for its kind follows, in hexadecimal digits.
const TYPE: &str = "virtio,device";

/// The keys of a device.
pub type Keys = BTreeMap<String, String>;

/// What to do for a device. `config` has its configuration where the keys do not.
///
/// # Errors
/// A key is missing, or its value is of no use here.
pub fn job(place: &Place, keys: &Keys, config: impl FnOnce(&DeviceKind) -> Result<Vec<u8>>) -> Result<Job> {
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
    must_be("frontend-id", &place.guest.0.to_string())?;
    must_be("transport", "mmio")?;
    must_be("specification", "virtio")?;
    let base = number(keys, "base")?;
    let irq = u32::try_from(number(keys, "irq")?).map(Intid).context("irq is no interrupt")?;
    let (kind, config, queue_each) = match place.kind {
        Kind::Disk => {
            must_be("type", "standalone")?;
            (kinds::get(DiskConfig::DEVICE_ID)?, of_keys(keys)?.to_blob()?, true)
        }
        Kind::Generic => {
            let kind = generic(keys)?;
            (kind, config(kind)?, false)
        }
    };
    (kind.check)(&config).map_err(anyhow::Error::from_boxed)?;
    let config = String::from_utf8(config).context("its configuration is no text")?;
    let device_id = kind.device_id;
    let size = registers::WINDOW;
    let name = place.to_string();
    Ok(Job { name, guest: place.guest, base, size, irq, ram: Vec::new(), device_id, config, queue_each })
}

/// The kind of a generic device: a disk, where the keys do not say.
fn generic(keys: &Keys) -> Result<&'static DeviceKind> {
    let Some(text) = keys.get("type") else { return kinds::get(DiskConfig::DEVICE_ID) };
    let digits = text.strip_prefix(TYPE).filter(|digits| !digits.starts_with('+'));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let number = number.with_context(|| format!("type is {text:?}, not \"{TYPE}N\""))?;
    kinds::get(number).with_context(|| format!("type is {text:?}"))
}

/// The disk of keys that libxl writes for `disk=`.
fn of_keys(keys: &Keys) -> Result<DiskConfig> {
    let word = |name: &str| keys.get(name).map(String::as_str);
    let image = word("params").context("params, the image's path, is missing")?;
    // libxl has no other format for such a disk, so that "raw" is nobody's word for what the image is.
    let mut disk = DiskConfig::new(image, None);
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
    use virtio::config::Format;
    use xenolith_abi::DomId;

    const DISK: Place = Place { kind: Kind::Disk, guest: DomId(1), device: 51712 };
    const GENERIC: Place = Place { kind: Kind::Generic, guest: DomId(1), device: 0 };

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

    fn none(_: &DeviceKind) -> Result<Vec<u8>> {
        anyhow::bail!("nobody says")
    }

    #[test]
    fn the_keys_of_a_disk_are_a_job() {
        let job = job(&DISK, &disk(), none).unwrap();
        let disk_of = |job: &Job| DiskConfig::from_blob(job.config.as_bytes()).unwrap();
        let disk = disk_of(&job);
        assert_eq!((job.guest, job.base, job.size, job.irq), (DomId(1), 0x200_0000, 0x200, Intid(33)));
        assert_eq!((disk.image.as_str(), disk.serial.as_str()), ("/images/a.img", "xvda"));
        assert!(!disk.read_only && disk.discard && job.queue_each && job.ram.is_empty());
        assert_eq!(disk.format, None, "xl's raw is nobody's word");
        let with = |name: &str, value: &str| {
            let mut keys = self::disk();
            keys.insert(name.into(), value.into());
            disk_of(&super::job(&DISK, &keys, none).unwrap())
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
        let generic =
            [("irq", "33"), ("base", "0x2000000"), ("type", "virtio,device2"), ("transport", "mmio")];
        let config = |kind: &DeviceKind| {
            assert_eq!(kind.name, "disk");
            Ok(DiskConfig { queues: 3, ..DiskConfig::new("/q", Format::Qcow2) }.to_blob()?)
        };
        let job = job(&GENERIC, &keys(&generic), config).unwrap();
        let disk = DiskConfig::from_blob(job.config.as_bytes()).unwrap();
        assert_eq!((job.base, job.device_id, disk.queues, job.queue_each), (0x200_0000, 2, 3, false));
        assert!(super::job(&GENERIC, &keys(&generic), none).is_err());
        for other in ["virtio,device26", "virtio,device", "virtio,device+2", "virtio,devicex", "disk"] {
            let keys = keys(&[("irq", "33"), ("base", "0x2000000"), ("type", other)]);
            let error = super::job(&GENERIC, &keys, config).unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
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
